//! The transaction that a request's writes share.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::pool::PoolConnection;
use sqlx_core::{sql_str::SqlStr, transaction::TransactionManager};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use super::{Db, DbConnection, Pooler, Postgres, error::is_broken};
use crate::{Error, ErrorKind, Hop, Position, Result, Signals, Timing};

/// How long a COMMIT may take before its outcome counts as unknown.
const COMMIT_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection that goes back to its pool may take to answer.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

/// An open transaction on the shard of a principal's tenant; it derefs to the connection.
///
/// Run statements on `&mut *tx`; `tx.begin()` on the connection is a savepoint. Await that `begin` to its end: dropped
/// half-way, under a time-out of your own, the driver rolls the whole transaction back, what follows runs outside of
/// it, and the commit is refused. Dropped without [`commit`](Self::commit) it is rolled back. A handler that got it from the layer simply lets it go: the layer
/// decides by the response.
///
/// | state | how it ends | the connection |
/// |---|---|---|
/// | open | `commit`: committed, or rolled back with an error, or unknown | reused; closed if unknown |
/// | open | `rollback` | reused |
/// | open | dropped | rolled back before it is reused |
///
/// **Round trips**: BEGIN 1; commit together with the read position 1; the rollback of a dropped transaction
/// travels with the pool's release ping.
///
/// ```no_run
/// # async fn f(pool: sqlx::PgPool) -> scalekit_core::Result<()> {
/// use scalekit_core::{Principal, db::{PoolSource, TxSource}};
///
/// let source = PoolSource::new(pool);
/// let mut tx = source.begin(&Principal::user("ada")).await?;
/// sqlx::query("insert into note (body) values ($1)").bind("hello").execute(&mut *tx).await?;
/// let position = tx.commit().await?; // a read that has reached `position` sees the note
/// # Ok(()) }
/// ```
pub struct Tx<D: Db = Postgres> {
    open: Option<Open<D>>,
    home: Option<Home<D>>,
    pooler: Pooler,
}

/// Where a lent transaction returns to when its borrower drops it.
pub(crate) type Home<D> = Arc<Mutex<Option<Open<D>>>>;

/// A transaction at depth 1 of the driver's own counting, on a connection that can still be closed.
pub(crate) struct Open<D: Db> {
    conn: Option<PoolConnection<D>>,
    lock: Option<OwnedSemaphorePermit>,
    /// An answer has shown that what the driver knows of the connection is so. Without one it is closed, not reused.
    sound: bool,
    age: Option<Timing>,
}

impl<D: Db> Tx<D> {
    /// Begins on this connection; `lock` is given back after the transaction has ended.
    ///
    /// If it fails or is dropped meanwhile, the connection is closed: the driver does not know then whether a
    /// transaction is open on it, and the pool would hand it to somebody else.
    pub(crate) async fn begin(
        conn: PoolConnection<D>,
        lock: Option<OwnedSemaphorePermit>,
        pooler: Pooler,
        signals: &Signals,
    ) -> Result<Self, sqlx::Error> {
        let mut open = Open { conn: Some(conn), lock, sound: false, age: None };
        if let Some(conn) = &mut open.conn {
            D::TransactionManager::begin(conn, D::BEGIN.map(SqlStr::from_static)).await?;
        }
        open.sound = true;
        open.age = Some(signals.start(Hop::Db, "transaction").or("rolled_back"));
        Ok(Self { open: Some(open), home: None, pooler })
    }

    /// What stands between this connection and the database.
    pub fn pooler(&self) -> Pooler {
        self.pooler
    }

    /// Commits and returns the log position that a read must have reached to see it: one round trip.
    ///
    /// # Errors
    /// [`ErrorKind::Aborted`] if a statement had failed, even if its error was swallowed: nothing is committed.
    /// [`ErrorKind::Conflict`] after a serialization failure: nothing is committed.
    /// [`ErrorKind::OutcomeUnknown`] if the server went away or did not answer within five seconds: it may be
    /// committed, and only a lookup (or a retry under the same idempotency key) can tell.
    ///
    /// [`ErrorKind::Misuse`] for one that a layer lent to a handler: the layer stores the answer with it and commits;
    /// and for one whose savepoint was dropped while it was begun: it is rolled back, later statements are not.
    pub async fn commit(mut self) -> Result<Position> {
        self.check_own()?;
        let mut open = self.open.take().ok_or_else(ended)?;
        let age = open.age.take();
        let conn = open.unsettled()?;
        if D::TransactionManager::get_transaction_depth(conn) == 0 {
            return Err(ended());
        }
        // Given up from here on, nobody knows.
        let age = age.map(|age| age.or("unknown"));
        let outcome = match timeout(COMMIT_WITHIN, conn.commit_with_position()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Error::new(ErrorKind::OutcomeUnknown, "the database did not answer the COMMIT in time"))
            }
        };
        open.sound = !matches!(&outcome, Err(error) if error.kind() == ErrorKind::OutcomeUnknown);
        if let Some(age) = age {
            age.end(match &outcome {
                Ok(_) => "committed",
                Err(_) if open.sound => "rolled_back",
                Err(_) => "unknown",
            });
        }
        outcome
    }

    /// Rolls back and waits for it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the connection was lost or did not answer within five seconds, which rolls back
    /// as well. [`ErrorKind::Misuse`] for one that a layer lent to a handler: a response of 400 or above rolls it back.
    pub async fn rollback(mut self) -> Result<()> {
        self.check_own()?;
        let mut open = self.open.take().ok_or_else(ended)?;
        let conn = open.unsettled()?;
        let Ok(rolled_back) = timeout(COMMIT_WITHIN, D::TransactionManager::rollback(conn)).await else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the database did not answer the ROLLBACK in time",
            ));
        };
        open.sound = rolled_back.is_ok();
        Ok(rolled_back?)
    }

    /// Refuses to end a transaction that was lent: its writes would be committed without the answer.
    fn check_own(&self) -> Result<()> {
        match self.home {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::Misuse,
                "a handler must not end the `Tx` that its layer lent to it",
            )),
        }
    }

    /// Ends it by closing the connection: for a statement that was given up on and may still run.
    pub fn close(mut self) {
        if let Some(open) = &mut self.open {
            open.sound = false;
        }
        self.home = None;
    }

    /// Ends it after this error of a statement: rolled back, and the connection closed if the error says that it is
    /// of no further use, such as one to a server that has become read-only (SQLSTATE 25006).
    ///
    /// Dropped instead, such a connection would go back to the pool and fail the next writer. One that a layer lent
    /// goes back to it: there a response of 400 or above rolls back, so the handler has to answer with one.
    ///
    /// ```no_run
    /// # async fn f(mut tx: scalekit_core::db::Tx<sqlx::Postgres>) -> scalekit_core::Result<()> {
    /// let ran = sqlx::query("update stock set left_over = left_over - 1").execute(&mut *tx).await;
    /// if let Err(error) = ran {
    ///     let error = scalekit_core::Error::from(error);
    ///     tx.fail(&error);
    ///     return Err(error);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn fail(self, error: &Error) {
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<sqlx::Error>());
        if source.is_some_and(is_broken) {
            self.close();
        }
    }

    #[cfg(feature = "http")]
    pub(crate) fn owned(open: Open<D>, pooler: Pooler) -> Self {
        Self { open: Some(open), home: None, pooler }
    }

    /// The same transaction, to be handed out; it returns to `home` when dropped.
    #[cfg(feature = "http")]
    pub(crate) fn lent(open: Open<D>, home: Home<D>, pooler: Pooler) -> Self {
        Self { open: Some(open), home: Some(home), pooler }
    }

    /// Takes the transaction out of its handle.
    #[cfg(feature = "http")]
    pub(crate) fn into_open(mut self) -> Option<Open<D>> {
        self.open.take()
    }
}

impl<D: Db> Deref for Tx<D> {
    type Target = D::Connection;

    #[expect(clippy::expect_used, reason = "only methods that consume the Tx take its connection")]
    fn deref(&self) -> &D::Connection {
        self.open
            .as_ref()
            .and_then(|open| open.conn.as_deref())
            .expect("a Tx holds its connection until it is consumed")
    }
}

impl<D: Db> DerefMut for Tx<D> {
    #[expect(clippy::expect_used, reason = "only methods that consume the Tx take its connection")]
    fn deref_mut(&mut self) -> &mut D::Connection {
        let open = self.open.as_mut().and_then(|open| open.conn.as_deref_mut());
        open.expect("a Tx holds its connection until it is consumed")
    }
}

impl<D: Db> fmt::Debug for Tx<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx").field("database", &D::NAME).field("lent", &self.home.is_some()).finish()
    }
}

impl<D: Db> Drop for Tx<D> {
    fn drop(&mut self) {
        if let (Some(open), Some(home)) = (self.open.take(), self.home.take()) {
            *home.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        }
    }
}

impl<D: Db> Open<D> {
    /// The connection for a statement whose end decides: given up half-way, it stays unsound.
    fn unsettled(&mut self) -> Result<&mut PoolConnection<D>> {
        self.sound = false;
        self.conn.as_mut().ok_or_else(ended)
    }
}

impl<D: Db> Drop for Open<D> {
    fn drop(&mut self) {
        match self.conn.take() {
            Some(conn) if self.sound => D::abandon(conn, self.lock.take()),
            Some(conn) => D::interrupt(conn, self.lock.take()),
            None => {}
        }
    }
}

/// Queues the rollback of whatever is open; the pool sends it with its release ping.
pub(crate) fn queue_rollback<D: Db>(conn: &mut PoolConnection<D>) {
    // Counted once: SQLite's depth falls when its thread gets there, and stays if the file's disk is full.
    for _ in 0..D::TransactionManager::get_transaction_depth(conn) {
        D::TransactionManager::start_rollback(conn);
    }
}

/// Gives a connection back to its pool, which pings it first; one that does not answer in time is closed, so that
/// a server that hangs does not keep the pool's permits.
pub(crate) fn release<D: Db>(mut conn: PoolConnection<D>) {
    match Handle::try_current() {
        Ok(runtime) => {
            let returned = conn.return_to_pool();
            runtime.spawn(timeout(RELEASE_WITHIN, returned));
        }
        // The pool could only panic here.
        Err(_) => drop(conn.detach()),
    }
}

/// Closes a connection; whatever was open on it is rolled back.
pub(crate) fn close<D: Db>(mut conn: PoolConnection<D>) {
    match Handle::try_current() {
        Ok(_) => conn.close_on_drop(),
        Err(_) => drop(conn.detach()),
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Misuse, "the transaction has ended already")
}
