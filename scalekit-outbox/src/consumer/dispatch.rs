//! One event's way through the handler: its turn, its attempts, its verdict.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use scalekit_core::{Error, ErrorKind, Result};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Backoff, Delivered, Handler, Outcome,
    keys::{Ended, Keys, Turn},
};

/// The bounds of the pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How an event left the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Dealt with.
    Done,
    /// Set aside, and its key with it.
    Parked { reason: String, retry: bool },
    /// Not tried, since an earlier event of its key was set aside.
    Behind,
    /// Not known: the consumer is stopping.
    Stopped,
}

/// What all events of a consumer share on their way.
pub(crate) struct Dispatch {
    handler: Arc<dyn Handler>,
    permits: Semaphore,
    keys: Arc<Keys>,
    cancel: CancellationToken,
    held: Mutex<Option<Instant>>,
}

impl Dispatch {
    pub(crate) fn new(handler: Arc<dyn Handler>, concurrency: usize, cancel: CancellationToken) -> Self {
        Self {
            handler,
            permits: Semaphore::new(concurrency),
            keys: Arc::default(),
            cancel,
            held: Mutex::default(),
        }
    }

    /// Lets no attempt begin after this (`None` for no end), unless it is called again: the events may be another's.
    pub(crate) fn hold_until(&self, held: Option<Instant>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    fn is_held(&self) -> bool {
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.is_none_or(|held| Instant::now() < held)
    }

    /// Queues the event behind earlier ones of its key at once; the future is to be spawned.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        event: Arc<Delivered>,
    ) -> impl Future<Output = Verdict> + Send + use<> {
        let turn = self.keys.enter(event.database(), event.key());
        let this = Arc::clone(self);
        async move { this.attempt(turn, event).await }
    }

    async fn attempt(&self, mut turn: Turn, event: Arc<Delivered>) -> Verdict {
        let before = tokio::select! {
            before = turn.come() => before,
            () = self.cancel.cancelled() => None,
        };
        let verdict = match before {
            None => Verdict::Stopped,
            Some(Ended::Parked) => Verdict::Behind,
            Some(Ended::Done) => self.until_dealt_with(event).await,
        };
        match verdict {
            Verdict::Done => turn.leave(Ended::Done),
            Verdict::Parked { .. } | Verdict::Behind => turn.leave(Ended::Parked),
            Verdict::Stopped => drop(turn),
        }
        verdict
    }

    async fn until_dealt_with(&self, event: Arc<Delivered>) -> Verdict {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            // A pause holds no permit: events of other keys are handled meanwhile.
            let permit = tokio::select! {
                permit = self.permits.acquire() => permit,
                () = self.cancel.cancelled() => return Verdict::Stopped,
            };
            if !self.is_held() {
                return Verdict::Stopped;
            }
            let outcome = self.handle(Arc::clone(&event)).await;
            drop(permit);
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

    /// Calls the handler in a task of its own, so that its panic ends there; dropping this future ends the task.
    async fn handle(&self, event: Arc<Delivered>) -> Result<Outcome> {
        let handler = Arc::clone(&self.handler);
        let mut task = JoinSet::new();
        task.spawn(async move { handler.handle(&event).await });
        match task.join_next().await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) | None => Err(Error::new(ErrorKind::Internal, "the handler panicked")),
        }
    }
}
