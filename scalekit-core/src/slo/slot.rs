//! The counters of one route and method.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed},
};
use std::sync::{Arc, OnceLock};

use http::StatusCode;

use super::bounds::Bounds;
use super::concurrency::Concurrency;
use super::histogram::{BucketCounts, FineHistogram};
use super::journey::Journey;
use super::objective::Objective;
use super::outcome::{Outcome, Terms, Verdict};
use super::shape::Shape;
use super::tally::{Tally, Verdicts};

/// How many statuses of a route and method have a histogram of their own; later ones share `_OTHER`.
///
/// ```
/// assert_eq!(scalekit_core::slo::MAX_STATUSES, 24);
/// ```
pub const MAX_STATUSES: usize = 24;

/// What is promised for a route and method.
#[derive(Clone, Default)]
pub(super) struct Promises {
    judged: Option<Judged>,
    journeys: Vec<Arc<Journey>>,
}

/// The objective that a slot counts for.
#[derive(Clone, Copy, Debug)]
struct Judged {
    /// Its place in the set.
    objective: usize,
    terms: Terms,
    shape: Option<Shape>,
}

impl Promises {
    /// Adds the objective at this place of the set; `journey` has its counters if it is one.
    pub(super) fn add(&mut self, place: usize, objective: &Objective, journey: Option<&Arc<Journey>>) {
        match journey {
            Some(journey) => self.journeys.push(journey.clone()),
            None => {
                let (terms, shape) = (objective.terms(), objective.shape);
                self.judged = Some(Judged { objective: place, terms, shape });
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.judged.is_none() && self.journeys.is_empty()
    }
}

pub(super) struct Slot {
    pub(super) method: &'static str,
    pub(super) route: Arc<str>,
    promises: Promises,
    in_flight: Concurrency,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    verdicts: Verdicts,
    fine: FineHistogram,
    heads: BucketCounts,
    streams: OnceLock<BucketCounts>,
    headless: BucketCounts,
    statuses: [OnceLock<(StatusCode, BucketCounts)>; MAX_STATUSES],
    other_status: OnceLock<BucketCounts>,
}

impl Slot {
    pub(super) fn new(
        method: &'static str,
        route: Arc<str>,
        promises: Promises,
        bounds: &Arc<Bounds>,
    ) -> Self {
        let streams = OnceLock::new();
        if promises.judged.is_some_and(|judged| judged.shape == Some(Shape::Streaming)) {
            streams.get_or_init(|| BucketCounts::new(bounds));
        }
        Self {
            method,
            route,
            promises,
            in_flight: Concurrency::new(),
            outcomes: Default::default(),
            verdicts: Verdicts::default(),
            fine: FineHistogram::new(),
            heads: BucketCounts::new(bounds),
            streams,
            headless: BucketCounts::new(bounds),
            statuses: Default::default(),
            other_status: OnceLock::new(),
        }
    }

    pub(super) fn enter(&self, now: u64) {
        self.in_flight.enter(now);
    }

    /// Counts the head of a response.
    pub(super) fn head(&self, nanos: u64) {
        self.heads.record(nanos);
    }

    /// Counts a request for its objective; once, at the head of a stream or at the end of everything else. Whether it
    /// is a miss: one that counts and is not good, or a failure where nothing is promised.
    pub(super) fn judge(&self, outcome: Outcome, nanos: u64) -> bool {
        self.fine.record(nanos);
        for journey in &self.promises.journeys {
            journey.request(outcome);
        }
        let Some(judged) = self.promises.judged else { return outcome.is_failure() };
        let verdict = judged.terms.judge(outcome, nanos);
        if let Some(verdict) = verdict {
            self.verdicts.count(verdict);
        }
        verdict.is_some_and(|verdict| verdict != Verdict::Good)
    }

    /// Counts the end of a request that entered; the status is that of its head, if it had one.
    pub(super) fn leave(
        &self,
        now: u64,
        outcome: Outcome,
        status: Option<StatusCode>,
        nanos: u64,
        shape: Shape,
    ) {
        let durations = match shape {
            Shape::Unary => self.buckets(status),
            Shape::Streaming => self.streams.get_or_init(|| self.counts()),
        };
        durations.record(nanos);
        self.outcomes[outcome.index()].fetch_add(1, Relaxed);
        // Last: who sees that it has ended sees all that was counted of it.
        self.in_flight.leave(now);
    }

    /// Whether something is promised for it; what is declared is exported from the start.
    pub(super) fn is_declared(&self) -> bool {
        !self.promises.is_empty()
    }

    /// The objective's place in the set.
    pub(super) fn objective(&self) -> Option<usize> {
        self.promises.judged.map(|judged| judged.objective)
    }

    /// The shape that the route's objective declares.
    pub(super) fn declared_shape(&self) -> Option<Shape> {
        self.promises.judged.and_then(|judged| judged.shape)
    }

    /// The requests that have entered and not ended, over time.
    pub(super) fn in_flight(&self) -> &Concurrency {
        &self.in_flight
    }

    /// Requests that have ended, however they did.
    pub(super) fn ended(&self) -> u64 {
        Outcome::ALL.into_iter().map(|outcome| self.outcome(outcome)).sum()
    }

    pub(super) fn tally(&self) -> Tally {
        self.verdicts.read()
    }

    pub(super) fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome.index()].load(Acquire)
    }

    /// The times that were judged.
    pub(super) fn fine(&self) -> &FineHistogram {
        &self.fine
    }

    /// The times to the head.
    pub(super) fn heads(&self) -> &BucketCounts {
        &self.heads
    }

    /// The lives of streams, if the route declares them or there was one.
    pub(super) fn streams(&self) -> Option<&BucketCounts> {
        self.streams.get()
    }

    /// Each histogram with its status label: none for requests that ended without a head.
    pub(super) fn histograms(&self) -> impl Iterator<Item = (Option<&str>, &BucketCounts)> {
        // A declared route has a series before its first request, and the status of that is not known yet.
        let headless = self.is_declared() || self.headless.counts().any(|count| count > 0);
        let headless = headless.then_some((None, &self.headless));
        let statuses = self.statuses.iter().filter_map(OnceLock::get);
        let statuses = statuses.map(|(status, counts)| (Some(status.as_str()), counts));
        let other = self.other_status.get().map(|counts| (Some("_OTHER"), counts));
        headless.into_iter().chain(statuses).chain(other)
    }

    fn buckets(&self, status: Option<StatusCode>) -> &BucketCounts {
        let Some(status) = status else { return &self.headless };
        // A route answers with a handful of statuses: the first places are found at once and never move.
        for place in &self.statuses {
            let (owner, counts) = place.get_or_init(|| (status, self.counts()));
            if *owner == status {
                return counts;
            }
        }
        self.other_status.get_or_init(|| self.counts())
    }

    /// Counters of the same bounds as all others of this slot.
    #[cold]
    fn counts(&self) -> BucketCounts {
        BucketCounts::new(self.heads.bounds())
    }
}
