//! The layer that names the principal, and the extractor that hands it to handlers.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use axum_core::{extract::FromRequestParts, response::IntoResponse};
use http::{StatusCode, request::Parts};
use tower_service::Service;

use super::{Around, AroundLayer, Place, Problem, Request, Response, whose::Whose};
use crate::Principal;

/// Finds out who a request acts for: from a session, a token, a client certificate.
///
/// ```
/// use async_trait::async_trait;
/// use http::request::Parts;
/// use scalekit_core::{Principal, http::{Authenticate, Response}};
///
/// struct Header;
/// #[async_trait]
/// impl Authenticate for Header {
///     async fn authenticate(&self, parts: &mut Parts) -> Result<Option<Principal>, Response> {
///         let user = parts.headers.get("x-user").and_then(|value| value.to_str().ok());
///         Ok(user.map(Principal::user))
///     }
/// }
/// let layer = scalekit_core::http::principal_layer(Header);
/// ```
#[async_trait]
pub trait Authenticate: Send + Sync + 'static {
    /// The principal, or `None` for an anonymous request.
    ///
    /// # Errors
    /// The refusal to send, such as 503 when the session store is down. It is never taken for anonymous.
    async fn authenticate(&self, parts: &mut Parts) -> Result<Option<Principal>, Response>;
}

/// A layer that stores the principal in the request's extensions and answers 401 where there is none.
///
/// Add it with `route_layer`, so that an unknown path is a 404 that asks nobody.
pub fn principal_layer(authenticate: impl Authenticate) -> AroundLayer<RequirePrincipal> {
    AroundLayer::new(RequirePrincipal(Arc::new(authenticate)))
}

/// The middleware behind [`principal_layer`].
#[derive(Clone)]
pub struct RequirePrincipal(Arc<dyn Authenticate>);

impl fmt::Debug for RequirePrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequirePrincipal")
    }
}

impl Around for RequirePrincipal {
    async fn around<S>(self, request: Request, mut inner: S) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        let (mut parts, body) = request.into_parts();
        if let Err(misplaced) = Place::Principal.enter(&mut parts.extensions) {
            return Ok(misplaced.into_response());
        }
        match self.0.authenticate(&mut parts).await {
            Ok(Some(principal)) => {
                if let Some(whose) = parts.extensions.get::<Whose>() {
                    whose.is(&principal);
                }
                parts.extensions.insert(principal);
                inner.call(Request::from_parts(parts, body)).await
            }
            Ok(None) => Ok(unauthorized().into_response()),
            Err(refusal) => Ok(refusal),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthorized)
    }
}

fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Sign in first")
}
