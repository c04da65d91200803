//! The layers in the right order.

#[cfg(feature = "idempotency")]
mod idempotency;
#[cfg(feature = "session")]
mod session;
#[cfg(feature = "slo")]
mod slo;

use std::fmt;

use axum::Router;
use scalekit_core::http::{Authenticate, principal_layer};

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
///     .into_router();
/// ```
#[derive(Default)]
#[must_use]
pub struct Stack {
    slo: Option<Wrap>,
    session: Option<Wrap>,
    principal: Option<Wrap>,
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

    /// Names the principal of the routes that need one. Sessions bring their own.
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
    pub fn into_router(self) -> Router {
        let keyed = wrap(self.keyed, self.idempotency);
        let signed_in = wrap(self.signed_in.merge(keyed), self.principal);
        let routes = wrap(self.public.merge(signed_in), self.session);
        match self.slo {
            // Around the fallback too: an unknown path is an answer that a user got.
            Some(slo) => slo(routes),
            None => routes,
        }
    }
}

fn wrap(routes: Router, layer: Option<Wrap>) -> Router {
    match layer {
        Some(layer) if routes.has_routes() => layer(routes),
        _ => routes,
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}
