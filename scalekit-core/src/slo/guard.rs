//! Counts one request in and, exactly once and whatever happens to it, out.

use std::sync::Arc;
use std::time::Duration;

use super::handle::Slo;
use super::outcome::{Head, Outcome};
use super::shape::Shape;
use super::slot::Slot;
use crate::http::Whose;

/// Owned by the response future, then by the body. Dropping it unfinished is an end too.
pub(super) struct Guard {
    slo: Slo,
    slot: Arc<Slot>,
    /// On the clock of the counters, in nanoseconds.
    start: u64,
    head: Option<Arrived>,
    /// Who it turned out to be for, where tenants are followed.
    whose: Option<Whose>,
    /// Whether it was judged as a miss.
    missed: bool,
    /// Whether inner code is running now: a guard that is dropped meanwhile is dropped by its unwinding.
    inside: bool,
    ended: bool,
}

/// The head of a response, and when it was there.
#[derive(Clone, Copy)]
struct Arrived {
    head: Head,
    nanos: u64,
    shape: Shape,
}

impl Guard {
    pub(super) fn start(slo: Slo, slot: Arc<Slot>, whose: Option<Whose>) -> Self {
        let start = slo.now();
        slot.enter(start);
        Self { slo, slot, start, head: None, whose, missed: false, inside: false, ended: false }
    }

    /// Runs inner code, so that a panic in it is told from a cancellation.
    pub(super) fn watch<T>(&mut self, inner: impl FnOnce() -> T) -> T {
        self.enter_inner();
        let value = inner();
        self.leave_inner();
        value
    }

    /// Inner code runs from here on; without a closure, into which a request would have to be moved.
    pub(super) fn enter_inner(&mut self) {
        self.inside = true;
    }

    /// Inner code has returned.
    pub(super) fn leave_inner(&mut self) {
        self.inside = false;
    }

    /// The head of the response is there; `detected` is its shape if the route declares none.
    pub(super) fn head(&mut self, head: Head, detected: impl FnOnce() -> Shape) {
        let nanos = self.elapsed();
        let shape = self.slot.declared_shape().unwrap_or_else(detected);
        self.slot.head(nanos);
        if shape == Shape::Streaming {
            self.missed = self.slot.judge(head.complete(), nanos);
        }
        self.head = Some(Arrived { head, nanos, shape });
    }

    /// There is no body to wait for: the request ended when its head was there.
    pub(super) fn complete_at_head(mut self) {
        let (outcome, nanos) = self.head.map_or((Outcome::ServerError, 0), |a| (a.head.complete(), a.nanos));
        self.settle(outcome, nanos);
    }

    /// The response was taken to its end.
    pub(super) fn complete(self) {
        let outcome = self.head.map_or(Outcome::ServerError, |arrived| arrived.head.complete());
        self.end(outcome);
    }

    /// The body failed, or the inner service did without a response.
    pub(super) fn fail(self) {
        let outcome = self.head.map_or(Outcome::ServerError, |arrived| arrived.head.broken());
        self.end(outcome);
    }

    fn end(mut self, outcome: Outcome) {
        let nanos = self.elapsed();
        self.settle(outcome, nanos);
    }

    fn settle(&mut self, outcome: Outcome, nanos: u64) {
        self.ended = true;
        let shape = match self.head {
            Some(Arrived { shape, .. }) => shape,
            None => self.slot.declared_shape().unwrap_or(Shape::Unary),
        };
        // A stream was judged by its head, if it got that far.
        if self.head.is_none() || shape == Shape::Unary {
            self.missed = self.slot.judge(outcome, nanos);
        }
        let status = self.head.map(|arrived| arrived.head.status);
        let now = self.start.saturating_add(nanos);
        if let (Some(tenants), Some(whose)) = (self.slo.tenants(), &self.whose) {
            tenants.record(now, whose.tenant(), !self.missed, Duration::from_nanos(nanos));
        }
        self.slot.leave(now, outcome, status, nanos, shape);
        self.slo.look_if_due(now);
    }

    fn elapsed(&self) -> u64 {
        self.slo.now().saturating_sub(self.start)
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
            Some(arrived) => arrived.head.dropped(),
        };
        let nanos = self.elapsed();
        self.settle(outcome, nanos);
    }
}
