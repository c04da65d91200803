//! Deletes claims whose retention is over.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{Db, DbConnection, Postgres, TxSource};
use crate::{Principal, Result, Worker};

/// Claims deleted in one transaction.
const BATCH: i64 = 1_000;

/// A worker that deletes expired claims, a thousand at a time, so that the table holds one retention's worth.
///
/// Correctness does not need it: an expired claim counts as absent whether it was deleted or not. Any number of
/// processes may run it at once; each skips the rows of the others.
///
/// ```no_run
/// # fn f(pool: sqlx::PgPool, workers: &mut scalekit_core::Workers) {
/// use scalekit_core::db::{ClaimSweeper, PoolSource};
/// use std::sync::Arc;
///
/// let sweeper = ClaimSweeper::new([Arc::new(PoolSource::new(pool)) as _]);
/// workers.spawn(Arc::new(sweeper));
/// # }
/// ```
pub struct ClaimSweeper<D: Db = Postgres> {
    sources: Vec<Arc<dyn TxSource<D>>>,
    every: Duration,
}

impl<D: Db> ClaimSweeper<D> {
    /// Sweeps each of these databases once a minute.
    pub fn new(sources: impl IntoIterator<Item = Arc<dyn TxSource<D>>>) -> Self {
        Self { sources: sources.into_iter().collect(), every: Duration::from_secs(60) }
    }

    /// The pause between two sweeps.
    #[must_use]
    pub fn with_every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Deletes what has expired on every database and returns how many claims that were.
    ///
    /// # Errors
    /// The first database's failure; what was deleted before stays deleted.
    pub async fn sweep(&self) -> Result<u64> {
        // Each source is one database: whoever the transaction is for, it is opened there.
        let anybody = Principal::guest("sweeper");
        let mut swept = 0;
        for source in &self.sources {
            loop {
                let mut tx = source.begin(&anybody).await?;
                let batch = tx.sweep_claims(BATCH).await?;
                tx.commit().await?;
                swept += batch;
                if batch < BATCH.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(swept)
    }
}

#[async_trait]
impl<D: Db> Worker for ClaimSweeper<D> {
    fn name(&self) -> &'static str {
        "claim sweeper"
    }

    async fn run(&self, cancel: CancellationToken) {
        let sweeping = async {
            loop {
                tokio::time::sleep(self.every).await;
                if let Err(error) = self.sweep().await {
                    tracing::warn!("expired claims were not deleted: {error}");
                }
            }
        };
        cancel.run_until_cancelled(sweeping).await;
    }
}

impl<D: Db> fmt::Debug for ClaimSweeper<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimSweeper").field("databases", &self.sources.len()).finish_non_exhaustive()
    }
}
