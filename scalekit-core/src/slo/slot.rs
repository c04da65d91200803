//! The counters of one route and method.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, OnceLock};

use http::StatusCode;

use super::bounds::Bounds;
use super::histogram::{BucketCounts, FineHistogram};
use super::outcome::{Head, Outcome, Terms};
use super::tally::{Tally, Verdicts};

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
    pub(super) terms: Terms,
}

pub(super) struct Slot {
    pub(super) method: &'static str,
    pub(super) route: Arc<str>,
    /// Method and route as exported, rendered once.
    pub(super) labels: String,
    pub(super) judged: Option<Judged>,
    in_flight: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    verdicts: Verdicts,
    fine: FineHistogram,
    headless: BucketCounts,
    statuses: [OnceLock<(StatusCode, BucketCounts)>; MAX_STATUSES],
    other_status: OnceLock<BucketCounts>,
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
            verdicts: Verdicts::default(),
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
    pub(super) fn leave(&self, outcome: Outcome, head: Option<Head>, nanos: u64, bounds: &Bounds) {
        self.fine.record(nanos);
        self.buckets(head, bounds).record(bounds, nanos);
        if let Some(verdict) = self.judged.and_then(|judged| judged.terms.judge(outcome, nanos)) {
            self.verdicts.count(verdict);
        }
        self.outcomes[outcome.index()].fetch_add(1, Relaxed);
        // Last: who reads 0 here reads every outcome.
        self.in_flight.fetch_sub(1, Release);
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Acquire)
    }

    pub(super) fn tally(&self) -> Tally {
        self.verdicts.read()
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

    fn buckets(&self, head: Option<Head>, bounds: &Bounds) -> &BucketCounts {
        let Some(Head { status, .. }) = head else { return &self.headless };
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
