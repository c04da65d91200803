//! One step on the database: a transaction of its own, bounded in time.

use std::time::Duration;

use scalekit_core::{Error, ErrorKind, Principal, Result, db::Pooler};
use tokio::time::timeout;

use super::Relay;
use crate::{OutboxConnection, OutboxDb, db};

/// How long a step may take.
pub(super) const BOUND: Duration = Duration::from_secs(5);
/// How long a rebase may take, which reads every event and writes those that were not acknowledged: some 100 million.
const REBASE_BOUND: Duration = Duration::from_secs(3600);

impl<D: OutboxDb> Relay<D> {
    /// Runs one step, commits it if it succeeds, rolls it back if it fails, and closes its connection if that is of
    /// no more use or the step takes longer than `bound`.
    pub(super) async fn step<T>(
        &self,
        bound: Duration,
        work: impl AsyncFnOnce(&mut D::Connection, Pooler) -> Result<T>,
    ) -> Result<T> {
        // The source has one database; whom the transaction is for does not matter to it.
        let mut tx = self.source.begin(&Principal::user("outbox relay")).await?;
        let pooler = tx.pooler();
        match timeout(bound, work(&mut tx, pooler)).await {
            Ok(Ok(value)) => {
                tx.commit().await?;
                Ok(value)
            }
            Ok(Err(error)) => {
                tx.fail(&error);
                Err(error)
            }
            Err(_) => {
                tx.close();
                Err(Error::new(ErrorKind::Unavailable, "a step of the relay took too long in the database"))
            }
        }
    }

    /// Renews the lease, and takes or gives lanes.
    pub(super) async fn balance(&self, who: &db::Who) -> Result<db::Held> {
        self.step(BOUND, async |conn, pooler| conn.balance(&at(who, pooler)).await).await
    }

    /// Puts all lanes on a fresh tick; `None` if there is no need for it any more.
    pub(super) async fn rebased(&self, force: bool) -> Result<Option<u64>> {
        self.step(REBASE_BOUND, async |conn, pooler| conn.rebase(force, pooler).await).await
    }

    pub(super) async fn pending(&self, who: &db::Who) -> Result<db::Pending> {
        self.step(BOUND, async |conn, pooler| conn.pending(&at(who, pooler)).await).await
    }

    /// Stores a snapshot.
    pub(super) async fn tick(&self, who: &db::Who) -> Result<i64> {
        self.step(BOUND, async |conn, pooler| conn.tick(&at(who, pooler)).await).await
    }

    /// The next batches; committed when this returns, so that their places in the log stand.
    pub(super) async fn read(
        &self,
        who: &db::Who,
        tick: i64,
        known: &mut db::Known,
    ) -> Result<Vec<db::Batch>> {
        self.step(BOUND, async |conn, pooler| conn.read(&at(who, pooler), tick, known).await).await
    }

    pub(super) async fn ack(&self, who: &db::Who, acks: &[db::Ack]) -> Result<Vec<u8>> {
        self.step(BOUND, async |conn, pooler| conn.ack(&at(who, pooler), acks).await).await
    }

    pub(super) async fn redriven(&self, who: &db::Who, redriven: &[db::Redriven]) -> Result<()> {
        self.step(BOUND, async |conn, pooler| conn.redriven(&at(who, pooler), redriven).await).await
    }

    pub(super) async fn tidy(&self, who: &db::Who) -> Result<u64> {
        self.step(BOUND, async |conn, pooler| conn.tidy(&at(who, pooler)).await).await
    }

    pub(super) async fn sweep(&self, who: &db::Who) -> Result<u64> {
        self.step(BOUND, async |conn, pooler| conn.sweep(&at(who, pooler), self.retention).await).await
    }

    pub(super) async fn release(&self, who: &db::Who) -> Result<()> {
        self.step(BOUND, async |conn, pooler| conn.release(&at(who, pooler)).await).await
    }
}

/// The relay as it shows itself on this connection.
fn at(who: &db::Who, pooler: Pooler) -> db::Who {
    db::Who { pooler, ..who.clone() }
}
