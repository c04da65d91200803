//! Promises that reach beyond a response: from a request to what a consumer makes of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use super::bounds::{Bounds, nanos};
use super::histogram::CutHistogram;
use super::objective::Objective;
use super::outcome::{Outcome, Terms, Verdict};
use super::tally::Tally;

/// The counters of one journey.
pub(super) struct Journey {
    /// Its place in the set.
    pub(super) objective: usize,
    terms: Terms,
    bounds: Arc<Bounds>,
    failed: AtomicU64,
    /// Of those that ended well. Its bounds have T and 4T among them, so it holds their verdicts too.
    durations: CutHistogram,
}

impl Journey {
    /// The counters of the objective at this place of the set, all 0.
    pub(super) fn new(place: usize, objective: &Objective, bounds: &Arc<Bounds>) -> Self {
        Self {
            objective: place,
            terms: objective.terms(),
            bounds: bounds.clone(),
            failed: AtomicU64::new(0),
            durations: CutHistogram::new(bounds),
        }
    }

    /// A request of one of its routes is over. Only a failure ends the journey: what went well goes on.
    pub(super) fn request(&self, outcome: Outcome) {
        if self.terms.judge(outcome, 0) == Some(Verdict::Failed) {
            self.fail();
        }
    }

    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        tally.add(Verdict::Failed, self.failed.load(Relaxed));
        let bounds = &self.bounds.nanos;
        for (bucket, count) in self.durations.counts().into_iter().enumerate() {
            // What is true of the longest duration of a bucket is true of all of them.
            tally.add(self.terms.pace(bounds.get(bucket).copied().unwrap_or(u64::MAX)), count);
        }
        tally
    }

    fn fail(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(super) fn durations(&self) -> &CutHistogram {
        &self.durations
    }
}

/// The last step of a journey, for the consumer that makes it; cheap to clone.
///
/// Report each journey once: a consumer that may see an event again reports where it knows that it is the first time,
/// such as after its inbox took the event. 0 round trips, no lock.
/// Non-guarantee: where that COMMIT is not answered and the event comes again, the inbox knows it already, and the journey
/// is counted nowhere.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use http::Method;
/// use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
///
/// // 99 % of orders are paid within 5 s of the click, however many services are in between.
/// let paid = Objective::new("checkout-paid").route(Method::POST, "/orders").until("paid");
/// let paid = paid.latency(Duration::from_secs(5)).target(0.99);
/// let slo = Slo::new(ObjectiveSet::builder("shop").objective(paid).build()?);
///
/// let step = slo.step("checkout-paid")?;
/// let ordered_at = SystemTime::now(); // from the event
/// step.done_since(ordered_at);
/// step.failed(); // another order: its card was declined for good
/// let rows = slo.objective_rows();
/// assert_eq!((rows[0].good, rows[0].total), (1, 2));
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Step(pub(super) Arc<Journey>);

impl Step {
    /// A journey has ended well, after this time since it began.
    pub fn done(&self, elapsed: Duration) {
        self.0.durations.record(nanos(elapsed));
    }

    /// A journey has ended well now that began at this time of the wall clock.
    ///
    /// The two clocks may be those of two machines: a start that is still to come counts as no time at all, and the
    /// duration is wrong by as much as the clocks differ. Thresholds of a second and more bear that.
    pub fn done_since(&self, start: SystemTime) {
        self.done(SystemTime::now().duration_since(start).unwrap_or_default());
    }

    /// A journey has ended badly by our fault. It has no duration: a fast failure is no fast journey.
    pub fn failed(&self) {
        self.0.fail();
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").finish_non_exhaustive()
    }
}
