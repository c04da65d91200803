//! One event's way through the handler: its attempts, its verdict.

use std::{future::Future, sync::Arc, time::Duration};

use scalekit_core::{Error, ErrorKind, Hop, Result, Signals};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Backoff, Consumer, Delivered, Handler, Lease, Outcome};

/// The bounds of the pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How an event left the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Dealt with.
    Done,
    /// To be set aside, and its key with it.
    Parked { reason: String, retry: bool },
    /// Not known: the consumer is stopping, or the event may be another's by now.
    Stopped,
}

/// What all events of a consumer share on their way.
pub(crate) struct Dispatch {
    handler: Arc<dyn Handler>,
    permits: Semaphore,
    limit: Duration,
    signals: Signals,
    cancel: CancellationToken,
}

impl Dispatch {
    pub(crate) fn new(of: &Consumer, cancel: CancellationToken) -> Self {
        Self {
            handler: Arc::clone(&of.handler),
            permits: Semaphore::new(of.concurrency),
            limit: of.limit,
            signals: of.signals.clone(),
            cancel,
        }
    }

    /// Handles the event until there is a verdict; no attempt begins after the end of the lease.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        event: Arc<Delivered>,
        lease: Lease,
    ) -> impl Future<Output = Verdict> + Send + use<> {
        let this = Arc::clone(self);
        async move { this.until_dealt_with(event, lease).await }
    }

    async fn until_dealt_with(&self, event: Arc<Delivered>, lease: Lease) -> Verdict {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            // A pause holds no permit: events of other keys are handled meanwhile.
            let permit = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Verdict::Stopped,
                permit = self.permits.acquire() => permit,
            };
            if lease.has_run_out() {
                return Verdict::Stopped;
            }
            let timing = self.signals.start(Hop::Queue, "outbox_handle");
            let outcome = self.handle(Arc::clone(&event)).await;
            drop(permit);
            let Some(outcome) = outcome else { return Verdict::Stopped };
            timing.end(match &outcome {
                Ok(Outcome::Done) => "done",
                Ok(Outcome::Park { .. }) => "parked",
                Err(_) => "error",
            });
            let error = match outcome {
                Ok(Outcome::Done) => return Verdict::Done,
                Ok(Outcome::Park { reason, retry }) => return Verdict::Parked { reason, retry },
                Err(error) => error,
            };
            if !(error.is_transient() || error.kind() == ErrorKind::Aborted) {
                tracing::error!(kind = event.kind(), ?error, "an event is parked: its handler failed");
                return Verdict::Parked { reason: error.to_string(), retry: true };
            }
            let pause = backoff.pause();
            tracing::warn!(kind = event.kind(), ?error, ?pause, "an event will be tried again");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.cancel.cancelled() => return Verdict::Stopped,
            }
        }
    }

    /// Calls the handler in a task of its own, so that its panic ends there; dropping this future ends the task. `None`
    /// if the runtime has ended it, as it does with all of its tasks, in any order.
    async fn handle(&self, event: Arc<Delivered>) -> Option<Result<Outcome>> {
        let handler = Arc::clone(&self.handler);
        let mut task = JoinSet::new();
        task.spawn(async move { handler.handle(&event).await });
        Some(match timeout(self.limit, task.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(Some(Err(ended))) if ended.is_panic() => {
                Err(Error::new(ErrorKind::Internal, "the handler panicked"))
            }
            Ok(Some(Err(_)) | None) => return None,
            Err(_) => {
                // It must have ended before the event is tried again.
                task.shutdown().await;
                Err(Error::new(ErrorKind::Unavailable, "the handler took too long and was dropped"))
            }
        })
    }
}
