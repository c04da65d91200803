//! Background work as a value: the caller spawns it, it stops when told.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Work that runs beside the requests: a relay, a consumer, a probe, a sweeper.
///
/// A constructor never spawns. `run` returns when `cancel` fires, after finishing what it must not leave
/// half done, and only then; a failing store is its own to retry, with backoff.
///
/// ```
/// use async_trait::async_trait;
/// use scalekit_core::{Worker, Workers};
/// use std::{sync::Arc, time::Duration};
///
/// struct Idle;
/// #[async_trait]
/// impl Worker for Idle {
///     fn name(&self) -> &'static str { "idle" }
///     async fn run(&self, cancel: tokio_util::sync::CancellationToken) { cancel.cancelled().await }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut workers = Workers::default();
/// workers.spawn(Arc::new(Idle));
/// assert!(workers.drain(Duration::from_secs(1)).await);
/// # }
/// ```
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// What it is called in logs.
    fn name(&self) -> &'static str;

    /// Works until `cancel` fires.
    async fn run(&self, cancel: CancellationToken);
}

/// A set of running workers with one way to stop them all.
///
/// Dropping the set aborts them; [`drain`](Self::drain) lets them finish.
#[derive(Debug, Default)]
pub struct Workers {
    tasks: JoinSet<()>,
    cancel: CancellationToken,
}

impl Workers {
    /// Runs a worker on the current Tokio runtime.
    pub fn spawn(&mut self, worker: Arc<dyn Worker>) {
        let cancel = self.cancel.child_token();
        self.tasks.spawn(async move {
            worker.run(cancel.clone()).await;
            if !cancel.is_cancelled() {
                tracing::error!(worker = worker.name(), "a worker returned before it was told to stop");
            }
        });
    }

    /// Tells all to stop and waits for them, at most `deadline`; those that are late are aborted.
    ///
    /// Returns whether all stopped by themselves. A second call, or one without workers, is fine.
    pub async fn drain(&mut self, deadline: Duration) -> bool {
        self.cancel.cancel();
        let all = async {
            let mut orderly = true;
            while let Some(ended) = self.tasks.join_next().await {
                orderly &= ended.is_ok();
            }
            orderly
        };
        let orderly = tokio::time::timeout(deadline, all).await.unwrap_or(false);
        self.tasks.shutdown().await;
        orderly
    }
}
