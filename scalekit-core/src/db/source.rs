//! Where transactions come from.

use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{Connection, PgConnection, PgPool, pool::PoolConnection};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::{Db, Pooler, Postgres, Tx, error::is_broken};
use crate::{Error, ErrorKind, Gate, Hop, Principal, Result, Signals};

/// How long a request waits for a connection and its BEGIN.
const ACQUIRE_WITHIN: Duration = Duration::from_millis(500);

/// Opens transactions where a principal's data is.
///
/// ```no_run
/// # async fn f(source: &dyn scalekit_core::db::TxSource) -> scalekit_core::Result<()> {
/// use scalekit_core::Principal;
/// let tx = source.begin(&Principal::user("ada").tenant("acme")).await?;
/// # Ok(()) }
/// ```
#[async_trait]
pub trait TxSource<D: Db = Postgres>: Send + Sync + 'static {
    /// Begins a transaction on the database of the principal's tenant.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if no connection is had in time or the database is down; nothing was
    /// executed then.
    async fn begin(&self, principal: &Principal) -> Result<Tx<D>>;
}

/// Transactions from one Postgres pool.
///
/// Waits at most 500 ms for a connection, and as long again for its BEGIN. A server that refuses connections, is starting or shutting down
/// counts as down: requests then fail at once, and one per 100 ms tries again. A pool made with
/// `test_before_acquire(false)` saves a round trip per transaction: broken connections are recognised here by their BEGIN.
///
/// **Round trips**: BEGIN 1.
///
/// ```no_run
/// # async fn f(pool: sqlx::PgPool) {
/// use scalekit_core::db::{PoolSource, Pooler};
/// let source = PoolSource::new(pool).with_pooler(Pooler::Legacy);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PoolSource {
    pool: PgPool,
    gate: Arc<Gate>,
    probing: Arc<Semaphore>,
    pooler: Pooler,
    within: Duration,
    signals: Signals,
}

impl PoolSource {
    /// Transactions from this pool.
    pub fn new(pool: PgPool) -> Self {
        let gate = Arc::new(Gate::new("the database is down"));
        let probing = Arc::new(Semaphore::new(1));
        let signals = Signals::default();
        Self { pool, gate, probing, pooler: Pooler::Direct, within: ACQUIRE_WITHIN, signals }
    }

    /// What stands between the pool and Postgres.
    #[must_use]
    pub fn with_pooler(mut self, pooler: Pooler) -> Self {
        self.pooler = pooler;
        self
    }

    /// How long to wait for a connection and its BEGIN; 500 ms unless said otherwise.
    #[must_use]
    pub fn with_acquire_timeout(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Reports the wait for each connection and the age of each transaction.
    #[must_use]
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// The pool it takes connections from.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether the database is taken to be down.
    pub fn is_down(&self) -> bool {
        self.gate.is_down()
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// As [`TxSource::begin`].
    pub async fn open(&self) -> Result<Tx> {
        self.signals.time(Hop::Db, "acquire", self.begun()).await
    }

    async fn begun(&self) -> Result<Tx> {
        self.gate.admit()?;
        let deadline = Instant::now() + self.within;
        if self.gate.is_down() {
            self.probe(deadline).await?;
        }
        // Each round discards a broken connection, and a pool holds only so many: if one is broken that was made since,
        // a server that lets clients in and serves none, such as a pooler without its database, is down.
        for _ in 0..=self.pool.options().get_max_connections() {
            if Instant::now() >= deadline {
                return Err(late("the pool's connections are broken"));
            }
            let conn = self.acquire(deadline).await?;
            // A bound of its own: whoever queued long for its connection must not take it for a silent server.
            match timeout(self.within, Tx::begin(conn, None, self.pooler, &self.signals)).await {
                Ok(Ok(tx)) => {
                    self.gate.succeeded();
                    return Ok(tx);
                }
                Ok(Err(error)) => {
                    if !is_broken(&error) {
                        return Err(error.into());
                    }
                    self.probe(deadline).await?;
                }
                Err(_) => {
                    self.gate.timed_out();
                    return Err(late("the database did not answer BEGIN in time"));
                }
            }
        }
        self.gate.refused();
        Err(late("new connections break, too"))
    }

    async fn acquire(&self, deadline: Instant) -> Result<PoolConnection<Postgres>> {
        let mut acquired = pin!(self.pool.acquire());
        // The pool retries a refused connection until its own time-out; asking the server once tells sooner.
        if let Ok(acquired) = timeout(self.within / 10, &mut acquired).await {
            return self.judged(acquired);
        }
        let connecting =
            self.pool.num_idle() == 0 && self.pool.size() < self.pool.options().get_max_connections();
        if let (true, Ok(_only_one)) = (connecting, self.probing.try_acquire()) {
            self.probe(deadline).await?;
        }
        match timeout_at(deadline, acquired).await {
            Ok(acquired) => self.judged(acquired),
            Err(_) => Err(late("no database connection became free in time")),
        }
    }

    /// The pool itself retries only what looks like a server that starts; the rest is for the gate to remember.
    fn judged<T>(&self, acquired: Result<T, sqlx::Error>) -> Result<T> {
        if acquired.as_ref().is_err_and(is_broken) {
            self.gate.refused();
        }
        Ok(acquired?)
    }

    /// Connects once beside the pool, which alone tells "down" from "busy".
    async fn probe(&self, deadline: Instant) -> Result<()> {
        let options = self.pool.connect_options();
        match timeout_at(deadline, PgConnection::connect_with(&options)).await {
            Ok(Ok(conn)) => {
                self.gate.succeeded();
                // A server that does not read the farewell has no claim to the request's time.
                timeout_at(deadline, conn.close()).await.ok();
                Ok(())
            }
            Ok(Err(error)) => self.judged(Err(error)),
            Err(_) => {
                self.gate.timed_out();
                Err(late("the database did not accept a connection in time"))
            }
        }
    }
}

#[async_trait]
impl TxSource for PoolSource {
    async fn begin(&self, _: &Principal) -> Result<Tx> {
        self.open().await
    }
}

fn late(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message).with_retry_after(Duration::from_secs(1))
}
