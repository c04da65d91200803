//! SQLite, the embedded twin: one writer at a time, in the order in which they asked.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{Row, Sqlite, SqliteConnection, SqlitePool, pool::PoolConnection, sqlite::SqliteRow};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Answer, Claim, ClaimId, Claimed, Db, DbConnection, Finished, Migration, Pooler, Tx, TxSource,
    backend::sealed::Sealed,
    claim::not_claimed,
    migrate,
    sql::sqlite::{CLAIM, CLAIM_LOOKUP, FINISH, SWEEP_CLAIMS},
    tx::{queue_rollback, release},
};
use crate::{Error, ErrorKind, Hop, Position, Principal, Result, Signals};

/// How long a writer queues for the file.
const QUEUE: Duration = Duration::from_secs(5);

/// The fair queue of one file's writers, to be shared by every pool of the process that writes to it.
///
/// Without it, writers of several pools meet in SQLite's busy handler, which is neither fair nor quick.
///
/// ```
/// use scalekit_core::db::FileLock;
/// let lock = FileLock::default();
/// let same = lock.clone(); // for another pool on the same file
/// ```
#[derive(Clone, Debug)]
pub struct FileLock(Arc<Semaphore>);

impl Default for FileLock {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// Transactions on one SQLite file; every principal's data is there.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use scalekit_core::{Principal, db::{FileLock, SqliteSource, TxSource}};
///
/// let pool = sqlx::SqlitePool::connect("sqlite://demo.db?mode=rwc").await?;
/// let source = SqliteSource::new(pool, FileLock::default());
/// let tx = source.begin(&Principal::user("ada")).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteSource {
    pool: SqlitePool,
    lock: FileLock,
    signals: Signals,
}

impl SqliteSource {
    /// Transactions from this pool; `lock` is the one of its file.
    pub fn new(pool: SqlitePool, lock: FileLock) -> Self {
        Self { pool, lock, signals: Signals::default() }
    }

    /// Reports the wait for each turn and the age of each transaction.
    #[must_use]
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// Begins a transaction when the writers before it have ended.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if its turn does not come within five seconds.
    pub async fn open(&self) -> Result<Tx<Sqlite>> {
        let begun = async {
            let (turn, conn) = self.acquire().await?;
            Tx::begin(conn, Some(turn), Pooler::Direct, &self.signals).await.map_err(Error::from)
        };
        self.signals.time(Hop::Db, "acquire", begun).await
    }

    async fn acquire(&self) -> Result<(OwnedSemaphorePermit, PoolConnection<Sqlite>)> {
        let late =
            |_| Error::new(ErrorKind::Unavailable, "the writers' queue of the database file is too long");
        let turn = timeout(QUEUE, Arc::clone(&self.lock.0).acquire_owned()).await.map_err(late)?;
        let turn = turn.map_err(|_| Error::new(ErrorKind::Unavailable, "the writers' queue is closed"))?;
        Ok((turn, self.pool.acquire().await?))
    }
}

#[async_trait]
impl TxSource<Sqlite> for SqliteSource {
    async fn begin(&self, _: &Principal) -> Result<Tx<Sqlite>> {
        self.open().await
    }
}

impl Sealed for Sqlite {}
impl Sealed for SqliteConnection {}

impl Db for Sqlite {
    const BEGIN: Option<&'static str> = Some("BEGIN IMMEDIATE");

    fn abandon(mut conn: PoolConnection<Self>, lock: Option<OwnedSemaphorePermit>) {
        if sqlx::Connection::is_in_transaction(&*conn) {
            queue_rollback(&mut conn);
            Self::interrupt(conn, lock);
        } else {
            release(conn);
        }
    }

    /// The next writer must not start before the rollback has run, and this may be called while the runtime is
    /// torn down: so a thread waits for what was queued. A BEGIN that nobody waits for is undone by the driver.
    fn interrupt(mut conn: PoolConnection<Self>, lock: Option<OwnedSemaphorePermit>) {
        let ended = move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                runtime.block_on(async {
                    let _ended = sqlx::Connection::ping(&mut *conn).await;
                    conn.close().await.ok();
                });
            }
            drop(lock);
        };
        // Without a thread the closure is dropped here, and the connection with it.
        std::thread::Builder::new().name("sqlite rollback".into()).spawn(ended).map(drop).ok();
    }
}

impl DbConnection for SqliteConnection {
    type Db = Sqlite;

    async fn commit_with_position(&mut self) -> Result<Position> {
        use sqlx_core::transaction::TransactionManager;
        <Sqlite as sqlx::Database>::TransactionManager::commit(self).await?;
        Ok(Position::ORIGIN)
    }

    async fn claim(&mut self, claim: &Claim) -> Result<Claimed> {
        let id = claim.id.as_bytes().as_slice();
        if let Some(row) = sqlx::query(CLAIM_LOOKUP).bind(id).fetch_optional(&mut *self).await? {
            return read(&claim.id, &row);
        }
        let row = sqlx::query(CLAIM)
            .bind(id)
            .bind(claim.fingerprint.as_deref())
            .bind(claim.retention.as_secs_f64())
            .fetch_one(self)
            .await?;
        Ok(Claimed::Taken(claim.id.operation(row.try_get("claimed_at")?)))
    }

    async fn finish(&mut self, claim: &Claim, answer: &Answer) -> Result<()> {
        let done = sqlx::query(FINISH)
            .bind(claim.id.as_bytes().as_slice())
            .bind(answer.status)
            .bind(answer.head.as_slice())
            .bind(answer.body.as_deref())
            .bind(answer.after_commit.as_deref())
            .persistent(claim.pooler.keeps_statements())
            .execute(self)
            .await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(not_claimed()) }
    }

    async fn sweep_claims(&mut self, limit: i64) -> Result<u64> {
        Ok(sqlx::query(SWEEP_CLAIMS).bind(limit).persistent(false).execute(self).await?.rows_affected())
    }

    async fn migrate(&mut self, migrations: &[Migration]) -> Result<()> {
        migrate::on_sqlite(self, migrations).await
    }
}

fn read(id: &ClaimId, row: &SqliteRow) -> Result<Claimed> {
    Ok(Claimed::Before(Finished {
        operation: id.operation(row.try_get("claimed_at")?),
        position: Position::ORIGIN,
        fingerprint: row.try_get("fingerprint")?,
        answer: Answer {
            status: row.try_get("status")?,
            head: row.try_get::<Option<_>, _>("head")?.unwrap_or_default(),
            body: row.try_get("body")?,
            after_commit: row.try_get("after_commit")?,
        },
    }))
}
