//! Counts one request in and, exactly once and whatever happens to it, out.

use std::sync::Arc;

use tokio::time::Instant;

use super::bounds::nanos;
use super::handle::Slo;
use super::outcome::{Head, Outcome};
use super::slot::Slot;

/// Owned by the response future, then by the body. Dropping it unfinished is an end too.
pub(super) struct Guard {
    slo: Slo,
    slot: Arc<Slot>,
    start: Instant,
    head: Option<Head>,
    /// Whether inner code is running now: a guard that is dropped meanwhile is dropped by its unwinding.
    inside: bool,
    ended: bool,
}

impl Guard {
    pub(super) fn start(slo: Slo, slot: Arc<Slot>) -> Self {
        slot.enter();
        Self { slo, slot, start: Instant::now(), head: None, inside: false, ended: false }
    }

    /// Runs inner code, so that a panic in it is told from a cancellation.
    pub(super) fn watch<T>(&mut self, inner: impl FnOnce() -> T) -> T {
        self.inside = true;
        let value = inner();
        self.inside = false;
        value
    }

    /// The head of the response is there.
    pub(super) fn head(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// The response was taken to its end.
    pub(super) fn complete(self) {
        let outcome = self.head.map_or(Outcome::ServerError, Head::complete);
        self.end(outcome);
    }

    /// The body failed, or the inner service did without a response.
    pub(super) fn fail(self) {
        let outcome = self.head.map_or(Outcome::ServerError, Head::broken);
        self.end(outcome);
    }

    fn end(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        self.ended = true;
        self.slot.leave(outcome, self.head, nanos(self.start.elapsed()), self.slo.bounds());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let outcome = match self.head {
            _ if self.inside => Outcome::Panicked,
            None => Outcome::CancelledHead,
            Some(head) => head.dropped(),
        };
        self.settle(outcome);
    }
}
