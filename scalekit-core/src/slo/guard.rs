//! Counts one request in and, exactly once and whatever happens to it, out.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use super::bounds::nanos;
use super::handle::Slo;
use super::outcome::Outcome;
use super::slot::Slot;

/// Owned by the response future, then by the body. Dropping it unfinished is an end too.
pub(super) struct Guard {
    slo: Slo,
    slot: Arc<Slot>,
    start: Instant,
    status: Option<StatusCode>,
    /// Whether inner code is running now: a guard that is dropped meanwhile is dropped by its unwinding.
    inside: bool,
    ended: bool,
}

impl Guard {
    pub(super) fn start(slo: Slo, slot: Arc<Slot>) -> Self {
        slot.enter();
        Self { slo, slot, start: Instant::now(), status: None, inside: false, ended: false }
    }

    /// Runs inner code, so that a panic in it is told from a cancellation.
    pub(super) fn watch<T>(&mut self, inner: impl FnOnce() -> T) -> T {
        self.inside = true;
        let value = inner();
        self.inside = false;
        value
    }

    /// The head of the response is there.
    pub(super) fn head(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The response was taken to its end.
    pub(super) fn complete(self) {
        let outcome = self.status.map_or(Outcome::ServerError, Outcome::of_status);
        self.end(outcome);
    }

    /// The body failed, or the inner service did without a response.
    pub(super) fn fail(self) {
        let outcome = match self.status {
            Some(status) if !status.is_server_error() => Outcome::BodyError,
            _ => Outcome::ServerError,
        };
        self.end(outcome);
    }

    fn end(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.ended = true;
        self.slot.leave(outcome, self.status, nanos(self.start.elapsed()), self.slo.bounds());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let outcome = match self.status {
            _ if self.inside => Outcome::Panicked,
            None => Outcome::CancelledHead,
            Some(status) => match Outcome::of_status(status) {
                Outcome::Ok => Outcome::CancelledBody,
                // The head has told all there is to know about an error.
                error => error,
            },
        };
        self.settle(outcome);
    }
}
