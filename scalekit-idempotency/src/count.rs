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

/// How a keyed request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Executed,
    Replayed,
    Mismatched,
    InFlight,
    RolledBack,
    Failed,
    Unknown,
}

impl Ended {
    const COUNT: usize = 7;

    pub(crate) fn of(kind: ErrorKind) -> Self {
        if kind == ErrorKind::OutcomeUnknown { Self::Unknown } else { Self::Failed }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Replayed => "replayed",
            Self::Mismatched => "mismatched",
            Self::InFlight => "in_flight",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Default)]
pub(crate) struct Counts([AtomicU64; Ended::COUNT]);

impl Counts {
    pub(crate) fn count(&self, ended: Ended) {
        if let Some(counter) = self.0.get(ended as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Counters {
        let [executed, replayed, mismatched, in_flight, rolled_back, failed, unknown] =
            self.0.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        Counters { executed, replayed, mismatched, in_flight, rolled_back, failed, unknown }
    }
}
