//! The principal of a request, from its session.

use async_trait::async_trait;
use axum_core::response::IntoResponse;
use http::request::Parts;
use scalekit_core::{
    Principal,
    http::{Authenticate, Response},
};

use crate::Session;

/// Takes the principal from the session; see [`Sessions::principal`](crate::Sessions::principal).
///
/// **Round trips**: 1, the session's load. Guarantee: when the store does not answer, the request is
/// refused with 503 and `Retry-After`, and never taken for an anonymous one.
///
/// ```
/// use scalekit_core::{KeyRing, Principal, http::principal_layer};
/// use scalekit_session::{MemoryStore, Sessions};
///
/// # fn main() -> scalekit_core::Result<()> {
/// let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate()?).build()?;
/// let app: axum::Router = axum::Router::new()
///     .route("/me", axum::routing::get(|me: Principal| async move { me.id().to_owned() }))
///     .route_layer(principal_layer(sessions.principal()))
///     .layer(sessions.layer());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SessionPrincipal;

#[async_trait]
impl Authenticate for SessionPrincipal {
    async fn authenticate(&self, parts: &mut Parts) -> Result<Option<Principal>, Response> {
        let session = Session::of(parts).map_err(IntoResponse::into_response)?;
        session.user().await.map_err(IntoResponse::into_response)
    }
}
