//! The counters of one route and method.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock};

use http::StatusCode;

use super::bounds::Bounds;
use super::histogram::{BucketCounts, FineHistogram};
use super::outcome::{Outcome, Verdict, judge};

/// How many statuses of a route and method have a histogram of their own; later ones share `_OTHER`.
///
/// ```
/// assert_eq!(scalekit_core::slo::MAX_STATUSES, 24);
/// ```
pub const MAX_STATUSES: usize = 24;

/// The objective that a slot counts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    /// Its place in the set.
    pub(super) objective: usize,
    /// In nanoseconds.
    pub(super) threshold: Option<u64>,
}

pub(super) struct Slot {
    pub(super) method: &'static str,
    pub(super) route: Arc<str>,
    /// Method and route as exported, rendered once.
    pub(super) labels: String,
    pub(super) judged: Option<Judged>,
    in_flight: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    total: AtomicU64,
    available: AtomicU64,
    good: AtomicU64,
    fine: FineHistogram,
    headless: BucketCounts,
    statuses: [OnceLock<(StatusCode, BucketCounts)>; MAX_STATUSES],
    other_status: OnceLock<BucketCounts>,
}

/// What an objective's counters say; `good <= available <= total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) good: u64,
    pub(super) available: u64,
    pub(super) total: u64,
}

impl Slot {
    pub(super) fn new(
        method: &'static str,
        route: Arc<str>,
        labels: String,
        judged: Option<Judged>,
        bounds: &Bounds,
    ) -> Self {
        Self {
            method,
            route,
            labels,
            judged,
            in_flight: AtomicU64::new(0),
            outcomes: Default::default(),
            total: AtomicU64::new(0),
            available: AtomicU64::new(0),
            good: AtomicU64::new(0),
            fine: FineHistogram::new(),
            headless: BucketCounts::new(bounds.buckets()),
            statuses: Default::default(),
            other_status: OnceLock::new(),
        }
    }

    pub(super) fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Counts the end of a request that entered.
    pub(super) fn leave(&self, outcome: Outcome, status: Option<StatusCode>, nanos: u64, bounds: &Bounds) {
        self.fine.record(nanos);
        self.buckets(status, bounds).record(bounds, nanos);
        if let Some(judged) = self.judged {
            // The larger number first, each visible no later than the next: no scrape sees more good than all.
            let verdict = judge(outcome, nanos, judged.threshold);
            if verdict != Verdict::Excluded {
                self.total.fetch_add(1, Relaxed);
            }
            if matches!(verdict, Verdict::Good | Verdict::Slow) {
                self.available.fetch_add(1, Release);
            }
            if verdict == Verdict::Good {
                self.good.fetch_add(1, Release);
            }
        }
        self.outcomes[outcome.index()].fetch_add(1, Relaxed);
        // Last: who reads 0 here reads every outcome.
        self.in_flight.fetch_sub(1, Release);
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Acquire)
    }

    pub(super) fn tally(&self) -> Tally {
        let good = self.good.load(Acquire);
        let available = self.available.load(Acquire);
        Tally { good, available, total: self.total.load(Acquire) }
    }

    pub(super) fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome.index()].load(Relaxed)
    }

    /// The number of requests that ended, and percentiles of their times in seconds.
    pub(super) fn percentiles<const N: usize>(&self, percents: [u64; N]) -> (u64, [Option<f64>; N]) {
        self.fine.percentiles(percents)
    }

    /// Each histogram with its status label: none for requests that ended without a head.
    pub(super) fn histograms(&self) -> impl Iterator<Item = (Option<&str>, &BucketCounts)> {
        // A declared route has a series before its first request, and the status of that is not known yet.
        let headless = self.judged.is_some() || self.headless.counts().any(|count| count > 0);
        let headless = headless.then_some((None, &self.headless));
        let statuses = self.statuses.iter().filter_map(OnceLock::get);
        let statuses = statuses.map(|(status, counts)| (Some(status.as_str()), counts));
        let other = self.other_status.get().map(|counts| (Some("_OTHER"), counts));
        headless.into_iter().chain(statuses).chain(other)
    }

    fn buckets(&self, status: Option<StatusCode>, bounds: &Bounds) -> &BucketCounts {
        let Some(status) = status else { return &self.headless };
        // A route answers with a handful of statuses: the first places are found at once and never move.
        for place in &self.statuses {
            let (owner, counts) = place.get_or_init(|| (status, BucketCounts::new(bounds.buckets())));
            if *owner == status {
                return counts;
            }
        }
        self.other_status.get_or_init(|| BucketCounts::new(bounds.buckets()))
    }
}
