//! The settings, checked once, and the scope that cannot be left out.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use http::request::Parts;
use scalekit_core::{
    Error, ErrorKind, Principal, Result, Signals,
    db::{Db, Pooler, Postgres, TxSource},
};

use crate::{Idempotency, Step};

/// No scope has been chosen yet: such a builder cannot be built.
#[derive(Debug)]
pub enum NoScope {}

/// The scope has been chosen.
#[derive(Debug)]
pub enum Scoped {}

/// Builds an [`Idempotency`]; there is an example on that type.
///
/// Keys of different scopes never meet. A builder without a scope does not compile:
///
/// ```compile_fail
/// # async fn f(pool: sqlx::PgPool) {
/// use scalekit_core::db::PoolSource;
/// use scalekit_idempotency::Idempotency;
/// let idempotency = Idempotency::builder(PoolSource::new(pool)).build(); // no method `build`: no scope
/// # }
/// ```
#[must_use]
pub struct Builder<D: Db, S> {
    pub(crate) config: Config<D>,
    scope: PhantomData<S>,
}

pub(crate) type WhoOf = Arc<dyn Fn(&Parts) -> Option<Principal> + Send + Sync>;

pub(crate) struct Config<D: Db> {
    pub(crate) source: Arc<dyn TxSource<D>>,
    pub(crate) namespace: String,
    pub(crate) who: WhoOf,
    pub(crate) retention: Duration,
    pub(crate) deadline: Duration,
    pub(crate) wait: Duration,
    pub(crate) body_within: Duration,
    pub(crate) request_limit: usize,
    pub(crate) response_limit: usize,
    pub(crate) pooler: Pooler,
    pub(crate) signals: Signals,
    pub(crate) observer: Option<Arc<dyn Fn(Step) + Send + Sync>>,
}

impl<D: Db> Idempotency<D> {
    /// Starts with the source of transactions: a pool, a topology.
    pub fn builder(source: impl TxSource<D>) -> Builder<D, NoScope> {
        let config = Config {
            source: Arc::new(source),
            namespace: "default".into(),
            who: Arc::new(|_| None),
            retention: Duration::from_secs(86_400),
            deadline: Duration::from_secs(10),
            wait: Duration::from_secs(5),
            body_within: Duration::from_secs(60),
            request_limit: 1 << 20,
            response_limit: 256 << 10,
            pooler: Pooler::Direct,
            signals: Signals::default(),
            observer: None,
        };
        Builder { config, scope: PhantomData }
    }
}

impl<D: Db> Builder<D, NoScope> {
    /// Keys belong to the principal that the principal's layer found: the same key of another user is another key.
    pub fn by_principal(self) -> Builder<D, Scoped> {
        self.scoped(Arc::new(|parts| parts.extensions.get::<Principal>().cloned()))
    }

    /// All requests share one scope, and their transactions are placed as this principal's.
    ///
    /// Whoever guesses a key then gets the answer of whoever sent it first: for internal callers only.
    pub fn danger_one_scope(self, placed_as: Principal) -> Builder<D, Scoped> {
        self.scoped(Arc::new(move |_| Some(placed_as.clone())))
    }

    fn scoped(mut self, who: WhoOf) -> Builder<D, Scoped> {
        self.config.who = who;
        Builder { config: self.config, scope: PhantomData }
    }
}

impl<D: Db, S> Builder<D, S> {
    /// Keys of different namespaces never meet; `default` unless said otherwise.
    pub fn with_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = namespace.into();
        self
    }

    /// How long a finished key is remembered; a day unless said otherwise. After it, the key executes again.
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.config.retention = retention;
        self
    }

    /// How long the transaction may take, its handler included; ten seconds unless said otherwise.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = deadline;
        self
    }

    /// How long a duplicate waits for the first before it gets 409; five seconds unless said otherwise.
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.config.wait = wait;
        self
    }

    /// The largest request body in bytes; 1 MiB unless said otherwise. More is 413.
    pub fn with_request_limit(mut self, bytes: usize) -> Self {
        self.config.request_limit = bytes;
        self
    }

    /// The largest response body that is kept, in bytes; 256 KiB unless said otherwise. A larger one is sent, never
    /// executed again, and not shown again.
    pub fn with_response_limit(mut self, bytes: usize) -> Self {
        self.config.response_limit = bytes;
        self
    }

    /// What stands between the source's connections and the database.
    pub fn with_pooler(mut self, pooler: Pooler) -> Self {
        self.config.pooler = pooler;
        self
    }

    /// Reports how long each keyed request takes from its key to its answer, and which of the outcomes it had.
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.config.signals = signals;
        self
    }

    /// Is told each [`Step`] as it is reached: for tests that stop the process there.
    pub fn with_observer(mut self, observer: impl Fn(Step) + Send + Sync + 'static) -> Self {
        self.config.observer = Some(Arc::new(observer));
        self
    }
}

impl<D: Db> Builder<D, Scoped> {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a time or limit of zero, or a wait longer than the retention.
    pub fn build(self) -> Result<Idempotency<D>> {
        let Config { retention, deadline, wait, request_limit, response_limit, .. } = &self.config;
        let refuse = |message: String| Err(Error::new(ErrorKind::Config, message));
        for (name, time) in [("retention", retention), ("deadline", deadline), ("wait", wait)] {
            if time.is_zero() {
                return refuse(format!("the {name} of idempotency keys must not be zero"));
            }
        }
        for (name, limit) in [("request", request_limit), ("response", response_limit)] {
            if *limit == 0 {
                return refuse(format!("the {name} limit of idempotency keys must not be zero"));
            }
        }
        if retention < &(*wait + *deadline) {
            return refuse(format!(
                "keys are kept {retention:?}, but a duplicate may wait {wait:?} and run {deadline:?}"
            ));
        }
        Ok(Idempotency::new(self.config))
    }
}

impl<D: Db, S> fmt::Debug for Builder<D, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("namespace", &self.config.namespace).finish_non_exhaustive()
    }
}

/// The default database of an [`Idempotency`].
pub(crate) type DefaultDb = Postgres;
