//! The layers in the right order.

#[cfg(feature = "idempotency")]
mod idempotency;
#[cfg(feature = "session")]
mod session;
#[cfg(feature = "slo")]
mod slo;

use std::fmt;

use axum::Router;
use scalekit_core::{
    Error, ErrorKind, Result,
    http::{Authenticate, principal_layer},
};

/// Puts routes and layers together: give it the parts, each optional and in any order, and take the router.
///
/// | routes | what stands around them |
/// |---|---|
/// | [`public`](Self::public) | SLO, session (costs nothing unless a handler uses it) |
/// | [`signed_in`](Self::signed_in) | the same, and 401 without a principal |
/// | [`keyed`](Self::keyed) | the same, and an idempotency key with its transaction |
///
/// An unknown path is a 404 that asks no store.
///
/// ```
/// use axum::{Router, routing::get};
/// use scalekit::{Principal, Stack};
///
/// # struct Token;
/// # #[async_trait::async_trait]
/// # impl scalekit::http::Authenticate for Token {
/// #     async fn authenticate(&self, _: &mut ::http::request::Parts) -> Result<Option<Principal>, scalekit::http::Response> { Ok(None) }
/// # }
/// let app: Router = Stack::new()
///     .principal(Token)
///     .public(Router::new().route("/", get(|| async { "hello" })))
///     .signed_in(Router::new().route("/me", get(|me: Principal| async move { me.id().to_owned() })))
///     .into_router()?;
/// # Ok::<(), scalekit::Error>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct Stack {
    slo: Option<Wrap>,
    session: Option<Wrap>,
    principal: Option<Wrap>,
    session_principal: Option<Wrap>,
    idempotency: Option<Wrap>,
    public: Router,
    signed_in: Router,
    keyed: Router,
}

/// One layer, around whatever routes it is given.
type Wrap = Box<dyn FnOnce(Router) -> Router + Send>;

impl Stack {
    /// A stack without layers or routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the principal of the routes that need one; otherwise the session does, if there are sessions.
    pub fn principal(mut self, authenticate: impl Authenticate) -> Self {
        self.principal = Some(Box::new(move |routes| routes.route_layer(principal_layer(authenticate))));
        self
    }

    /// Routes for everybody.
    pub fn public(mut self, routes: Router) -> Self {
        self.public = self.public.merge(routes);
        self
    }

    /// Routes that need a principal.
    pub fn signed_in(mut self, routes: Router) -> Self {
        self.signed_in = self.signed_in.merge(routes);
        self
    }

    /// Routes that need a principal and an idempotency key; their handlers may extract `Tx`.
    pub fn keyed(mut self, routes: Router) -> Self {
        self.keyed = self.keyed.merge(routes);
        self
    }

    /// The routes with their layers.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for keyed routes without idempotency, or routes that need a principal without anything that
    /// names one: they would stand open.
    pub fn into_router(self) -> Result<Router> {
        let keyed = guard(self.keyed, self.idempotency, "keyed routes need `Stack::idempotency`")?;
        let signed_in = self.signed_in.merge(keyed);
        let principal = self.principal.or(self.session_principal);
        let missing = "routes that need a principal need `Stack::principal` or `Stack::sessions`";
        let routes = self.public.merge(guard(signed_in, principal, missing)?);
        let routes = match self.session {
            Some(session) if routes.has_routes() => session(routes),
            _ => routes,
        };
        Ok(match self.slo {
            // Around the fallback too: an unknown path is an answer that a user got.
            Some(slo) => slo(routes),
            None => routes,
        })
    }
}

/// Routes that must not stand without their layer.
fn guard(routes: Router, layer: Option<Wrap>, missing: &'static str) -> Result<Router> {
    match layer {
        _ if !routes.has_routes() => Ok(routes),
        Some(layer) => Ok(layer(routes)),
        None => Err(Error::new(ErrorKind::Config, missing)),
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}
