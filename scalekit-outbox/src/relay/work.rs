//! One step on the database: a transaction of its own, bounded in time.

use std::time::Duration;

use scalekit_core::{Error, ErrorKind, Principal, Result, db::Tx};
use tokio::time::{error::Elapsed, timeout};

use super::Relay;
use crate::{OutboxConnection, OutboxDb, db};

/// How long a step may take.
pub(super) const BOUND: Duration = Duration::from_secs(5);
/// How often a tick is tried again at once when another relay was at it.
const TICKS: usize = 4;

impl<D: OutboxDb> Relay<D> {
    pub(super) async fn begin(&self) -> Result<Tx<D>> {
        // The source has one database; whom the transaction is for does not matter to it.
        self.source.begin(&Principal::user("outbox relay")).await
    }

    /// Renews the lease, and takes or gives lanes.
    pub(super) async fn balance(&self, who: &db::Who) -> Result<db::Held> {
        let mut tx = self.begin().await?;
        let who = at(who, &tx);
        let done = timeout(BOUND, tx.balance(&who)).await;
        end(tx, done).await
    }

    pub(super) async fn pending(&self, who: &db::Who) -> Result<db::Pending> {
        let mut tx = self.begin().await?;
        let who = at(who, &tx);
        let done = timeout(BOUND, tx.pending(&who)).await;
        end(tx, done).await
    }

    /// Stores a snapshot; an error if other relays did so each time that it tried.
    pub(super) async fn tick(&self, who: &db::Who) -> Result<i64> {
        for _ in 0..TICKS {
            let mut tx = self.begin().await?;
            let who = at(who, &tx);
            let done = timeout(BOUND, tx.tick(&who)).await;
            if let Some(tick) = end(tx, done).await? {
                return Ok(tick);
            }
        }
        Err(Error::new(ErrorKind::Conflict, "other relays stored their snapshots first"))
    }

    /// The next batches; committed when this returns, so that their places in the log stand.
    pub(super) async fn read(
        &self,
        who: &db::Who,
        tick: i64,
        known: &mut db::Known,
    ) -> Result<Vec<db::Batch>> {
        let mut tx = self.begin().await?;
        let who = at(who, &tx);
        let done = timeout(BOUND, tx.read(&who, tick, known)).await;
        end(tx, done).await
    }

    pub(super) async fn ack(&self, who: &db::Who, acks: &[db::Ack]) -> Result<Vec<u8>> {
        let mut tx = self.begin().await?;
        let who = at(who, &tx);
        let done = timeout(BOUND, tx.ack(&who, acks)).await;
        end(tx, done).await
    }

    pub(super) async fn redriven(&self, who: &db::Who, redriven: &[db::Redriven]) -> Result<()> {
        let mut tx = self.begin().await?;
        let who = at(who, &tx);
        let done = timeout(BOUND, tx.redriven(&who, redriven)).await;
        end(tx, done).await
    }

    pub(super) async fn sweep(&self, who: &db::Who) -> Result<u64> {
        let mut tx = self.begin().await?;
        let who = at(who, &tx);
        let done = timeout(BOUND, tx.sweep(&who, self.retention)).await;
        end(tx, done).await
    }

    pub(super) async fn release(&self, who: &db::Who) -> Result<()> {
        let mut tx = self.begin().await?;
        let who = at(who, &tx);
        let done = timeout(BOUND, tx.release(&who)).await;
        end(tx, done).await
    }
}

/// The relay as it shows itself on this connection.
fn at<D: OutboxDb>(who: &db::Who, tx: &Tx<D>) -> db::Who {
    db::Who { pooler: tx.pooler(), ..who.clone() }
}

/// Commits a step that succeeded, rolls back one that failed, and closes the connection of one that took too long.
pub(super) async fn end<D: OutboxDb, T>(tx: Tx<D>, done: Result<Result<T>, Elapsed>) -> Result<T> {
    match done {
        Ok(Ok(value)) => {
            tx.commit().await?;
            Ok(value)
        }
        Ok(Err(error)) => {
            tx.rollback().await.ok();
            Err(error)
        }
        Err(_) => {
            tx.close();
            Err(Error::new(ErrorKind::Unavailable, "a step of the relay took too long in the database"))
        }
    }
}
