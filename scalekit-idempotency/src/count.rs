//! What happened, as counters.

use std::sync::atomic::{AtomicU64, Ordering};

use scalekit_core::ErrorKind;

/// How often each outcome occurred since the start of the process.
///
/// ```
/// # fn f(idempotency: scalekit_idempotency::Idempotency) {
/// let counters = idempotency.counters();
/// assert_eq!(counters.executed, 0);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Executed and committed.
    pub executed: u64,
    /// Answered with a stored response.
    pub replayed: u64,
    /// Refused: the key was used with a different request.
    pub mismatched: u64,
    /// Refused: the first request still ran after the bound.
    pub in_flight: u64,
    /// Rolled back because of the handler's answer.
    pub rolled_back: u64,
    /// Not committed because of a failure.
    pub failed: u64,
    /// The COMMIT was not answered.
    pub unknown: u64,
}

#[derive(Default)]
pub(crate) struct Counts {
    executed: AtomicU64,
    replayed: AtomicU64,
    mismatched: AtomicU64,
    in_flight: AtomicU64,
    rolled_back: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
}

impl Counts {
    pub(crate) fn executed(&self) {
        bump(&self.executed);
    }

    pub(crate) fn replayed(&self) {
        bump(&self.replayed);
    }

    pub(crate) fn mismatched(&self) {
        bump(&self.mismatched);
    }

    pub(crate) fn in_flight(&self) {
        bump(&self.in_flight);
    }

    pub(crate) fn rolled_back(&self) {
        bump(&self.rolled_back);
    }

    pub(crate) fn failed(&self, kind: ErrorKind) {
        bump(if kind == ErrorKind::OutcomeUnknown { &self.unknown } else { &self.failed });
    }

    pub(crate) fn read(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            executed: read(&self.executed),
            replayed: read(&self.replayed),
            mismatched: read(&self.mismatched),
            in_flight: read(&self.in_flight),
            rolled_back: read(&self.rolled_back),
            failed: read(&self.failed),
            unknown: read(&self.unknown),
        }
    }
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
