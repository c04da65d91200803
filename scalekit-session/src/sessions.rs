//! The handle that the application keeps.

use std::{fmt, sync::Arc};

use scalekit_core::{
    KeyRing,
    http::{AroundLayer, Request},
};

use crate::{Metrics, SessionLayer, SessionPrincipal, SessionsBuilder, Store, visit::Shared};

/// The sessions of a service: makes the layer, tells what happened. Clones are handles to the same.
///
/// ```
/// use scalekit_core::KeyRing;
/// use scalekit_session::{Counter, MemoryStore, Session, Sessions};
///
/// const VIEWS: Counter = Counter::new("views");
///
/// async fn hello(session: Session) -> scalekit_core::Result<String> {
///     session.incr(VIEWS, 1)?;
///     Ok(format!("visit {}", session.counter(VIEWS).await?))
/// }
///
/// # fn main() -> scalekit_core::Result<()> {
/// let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate()?).namespace("shop").build()?;
/// let app: axum::Router =
///     axum::Router::new().route("/", axum::routing::get(hello)).layer(sessions.layer());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Sessions(pub(crate) Arc<Shared>);

impl Sessions {
    /// Starts the configuration: where sessions live, and the keys that all processes of the service share.
    pub fn builder(store: impl Store, ring: KeyRing) -> SessionsBuilder {
        SessionsBuilder::new(Arc::new(store), ring)
    }

    /// The layer that gives every request its [`Session`](crate::Session) and commits what the handler
    /// changed. Add it with `Router::layer`, outside of layers that use the session.
    ///
    /// **Round trips**: 0 for a request that does not use its session, whatever its cookie.
    pub fn layer(&self) -> AroundLayer<SessionLayer> {
        AroundLayer::new(SessionLayer { shared: self.0.clone(), prefetch: None })
    }

    /// The same layer; of the requests for which this is true, the session is read at once, while the rest of the stack
    /// looks at the request and waits for its body. Their handlers find it there.
    ///
    /// **Round trips**: 1 for each of these that has a valid cookie, whether its handler uses the session or not.
    ///
    /// ```
    /// # use scalekit_core::KeyRing;
    /// # use scalekit_session::{MemoryStore, Sessions};
    /// # let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate()?).build()?;
    /// let app: axum::Router = axum::Router::new()
    ///     .layer(sessions.prefetching_layer(|request| request.uri().path().starts_with("/account")));
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn prefetching_layer(
        &self,
        wanted: impl Fn(&Request) -> bool + Send + Sync + 'static,
    ) -> AroundLayer<SessionLayer> {
        AroundLayer::new(SessionLayer { shared: self.0.clone(), prefetch: Some(Arc::new(wanted)) })
    }

    /// Takes the principal from the session; give it to
    /// [`principal_layer`](scalekit_core::http::principal_layer) inside of [`layer`](Self::layer).
    pub fn principal(&self) -> SessionPrincipal {
        SessionPrincipal::default()
    }

    /// What happened so far in this process.
    pub fn metrics(&self) -> Metrics {
        self.0.counters.snapshot()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("namespace", &self.0.namespace)
            .field("cookie", &self.0.cookie)
            .field("rules", &self.0.rules)
            .finish_non_exhaustive()
    }
}
