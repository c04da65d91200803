//! The counters of an objective, one addition per request.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::outcome::Verdict;

/// How often each verdict came.
///
/// All that is exported is a sum of these four, so no reader sees more good requests than requests, in whatever
/// order the additions reach it.
#[derive(Debug, Default)]
pub(super) struct Verdicts([AtomicU64; 4]);

impl Verdicts {
    pub(super) fn count(&self, verdict: Verdict) {
        self.0[verdict as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> Tally {
        let mut tally = Tally::default();
        for verdict in [Verdict::Good, Verdict::Tolerable, Verdict::Slow, Verdict::Failed] {
            tally.add(verdict, self.0[verdict as usize].load(Relaxed));
        }
        tally
    }
}

/// What an objective's counters say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Answered within the threshold, or without one.
    pub(super) good: u64,
    /// Answered within four times the threshold.
    pub(super) tolerable: u64,
    slow: u64,
    failed: u64,
}

impl Tally {
    /// Counts so many more of a verdict.
    pub(super) fn add(&mut self, verdict: Verdict, count: u64) {
        *match verdict {
            Verdict::Good => &mut self.good,
            Verdict::Tolerable => &mut self.tolerable,
            Verdict::Slow => &mut self.slow,
            Verdict::Failed => &mut self.failed,
        } += count;
    }

    /// Requests that count.
    pub(super) fn total(&self) -> u64 {
        self.available() + self.failed
    }

    /// Those that did not fail.
    pub(super) fn available(&self) -> u64 {
        self.good + self.tolerable + self.slow
    }

    /// Those that nobody put up with: slower than four times the threshold, given up after it, or failed.
    pub(super) fn frustrated(&self) -> u64 {
        self.slow + self.failed
    }

    /// The satisfied and half of the tolerating among all; none before the first request.
    #[expect(clippy::cast_precision_loss, reason = "a score; beyond 2^53 requests it is rounded")]
    pub(super) fn apdex(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| (self.good as f64 + self.tolerable as f64 / 2.0) / total as f64)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.good += other.good;
        self.tolerable += other.tolerable;
        self.slow += other.slow;
        self.failed += other.failed;
    }
}
