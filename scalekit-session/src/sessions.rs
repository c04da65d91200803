//! Configuration, checked once, and the handle that the application keeps.

use std::{fmt, sync::Arc, time::Duration};

use scalekit_core::{Clock, Error, ErrorKind, KeyRing, Result, Signals, SystemClock, http::AroundLayer};

use crate::{
    Cookie, Metrics, SessionLayer, SessionPrincipal, Store, leftover::Leftovers, metrics::Counters,
    store::Rules, visit::Shared,
};

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
pub struct Sessions(Arc<Shared>);

impl Sessions {
    /// Starts the configuration: where sessions live, and the keys that all processes of the service share.
    pub fn builder(store: impl Store, ring: KeyRing) -> SessionsBuilder {
        SessionsBuilder {
            store: Arc::new(store),
            ring,
            namespace: "session".to_owned(),
            cookie: Cookie::host("id"),
            rules: Rules {
                idle: Duration::from_secs(30 * 60),
                absolute: Duration::from_secs(12 * 60 * 60),
                max_fields: 512,
                max_bytes: 64 * 1024,
                max_sessions: 1_000,
            },
            request_budget: Duration::from_millis(200),
            clock: Arc::new(SystemClock),
            signals: Signals::default(),
        }
    }

    /// The layer that gives every request its [`Session`](crate::Session) and commits what the handler
    /// changed. Add it with `Router::layer`, outside of layers that use the session.
    ///
    /// **Round trips**: 0 for a request that does not use its session, whatever its cookie.
    pub fn layer(&self) -> AroundLayer<SessionLayer> {
        AroundLayer::new(SessionLayer(self.0.clone()))
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

/// The configuration of [`Sessions`]; see there for an example.
#[must_use]
pub struct SessionsBuilder {
    store: Arc<dyn Store>,
    ring: KeyRing,
    namespace: String,
    cookie: Cookie,
    rules: Rules,
    request_budget: Duration,
    clock: Arc<dyn Clock>,
    signals: Signals,
}

impl SessionsBuilder {
    /// What keys in the store start with, and what tickets are signed for; `session` by default. Services
    /// with different namespaces share a store and a ring without seeing each other's sessions.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How the cookie is sent; [`Cookie::host`]`("id")` by default.
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        self.cookie = cookie;
        self
    }

    /// How long a session lives without a request; 30 minutes by default.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.rules.idle = idle;
        self
    }

    /// How long a session lives at most; 12 hours by default. A sign-in starts anew.
    pub fn absolute(mut self, absolute: Duration) -> Self {
        self.rules.absolute = absolute;
        self
    }

    /// Reports how long each load and each commit takes, and how it ends.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// How long one request may wait for the store in all; 200 ms by default.
    pub fn request_budget(mut self, budget: Duration) -> Self {
        self.request_budget = budget;
        self
    }

    /// How many fields and members of maps a session may hold (512 by default), and how many bytes in all
    /// (64 KiB by default).
    pub fn size(mut self, max_fields: usize, max_bytes: usize) -> Self {
        self.rules.max_fields = max_fields;
        self.rules.max_bytes = max_bytes;
        self
    }

    /// How many sessions one user may have; 1,000 by default. A sign-in beyond ends the oldest.
    pub fn sessions_per_user(mut self, max: usize) -> Self {
        self.rules.max_sessions = max;
        self
    }

    /// The clock that stamps tickets; the machine's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks the configuration. Connects to nothing and starts nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a namespace or a cookie's name with characters that have a meaning of their
    /// own, for an idle time that is zero or above the absolute one, and for limits out of range.
    pub fn build(self) -> Result<Sessions> {
        let config = |message: String| Err(Error::new(ErrorKind::Config, message));
        let rules = &self.rules;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
        self.cookie.check()?;
        if !(1..=64).contains(&self.namespace.len()) || !self.namespace.bytes().all(plain) {
            return config("a namespace of sessions is 1 to 64 of A-Za-z0-9._-:".to_owned());
        }
        if rules.idle < Duration::from_millis(100) || rules.idle > rules.absolute {
            return config(format!(
                "sessions: idle {:?} must be at least 100 ms and at most absolute {:?}",
                rules.idle, rules.absolute
            ));
        }
        if rules.absolute > Duration::from_secs(400 * 86_400) {
            return config(format!("sessions: absolute {:?} is above 400 days", rules.absolute));
        }
        if !(1..=10_000).contains(&rules.max_fields) || !(1..=1 << 20).contains(&rules.max_bytes) {
            return config("sessions: at most 10,000 fields and 1 MiB".to_owned());
        }
        if !(1..=10_000).contains(&rules.max_sessions) || self.request_budget.is_zero() {
            return config("sessions: 1 to 10,000 sessions of a user, and a budget above 0".to_owned());
        }
        Ok(Sessions(Arc::new(Shared {
            store: self.store,
            ring: self.ring,
            namespace: self.namespace,
            cookie: self.cookie,
            rules: self.rules,
            request_budget: self.request_budget,
            clock: self.clock,
            counters: Counters::default(),
            signals: self.signals,
            leftovers: Leftovers::default(),
        })))
    }
}

impl fmt::Debug for SessionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsBuilder").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
