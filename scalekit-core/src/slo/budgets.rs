//! The error budgets of all objectives, followed from their counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::budget::{Budget, BurnMeter};
use super::objective::Objective;
use super::tally::Tally;

/// How often the counters are looked at while requests end, in nanoseconds.
const LOOK_EVERY: u64 = 10_000_000_000;

/// The budgets of one objective.
struct Meters {
    target: Option<BurnMeter>,
    availability: Option<BurnMeter>,
}

/// What one objective may still spend: of its target, and of its availability.
pub(super) type Left = (Option<Budget>, Option<Budget>);

pub(super) struct Budgets {
    meters: Vec<Meters>,
    /// Held from the reading of the counters on: what was read first must not be heard last, since a counter that
    /// falls is one that started anew.
    turn: Mutex<()>,
    /// When somebody has to look again.
    due: AtomicU64,
}

impl Budgets {
    pub(super) fn new(objectives: &[Objective]) -> Self {
        // The set has refused shares that leave no budget.
        let meter = |share: Option<f64>| share.and_then(|share| BurnMeter::new(share, 0).ok());
        let meters = objectives.iter().map(|objective| Meters {
            target: meter(objective.target),
            availability: meter(objective.availability),
        });
        Self { meters: meters.collect(), turn: Mutex::new(()), due: AtomicU64::new(LOOK_EVERY) }
    }

    /// Whether this caller is to look at the counters now: one every ten seconds.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let due = self.due.load(Relaxed);
        now >= due && self.due.compare_exchange(due, now + LOOK_EVERY, Relaxed, Relaxed).is_ok()
    }

    /// Reads the counters and takes them in, in one turn; the time of it.
    pub(super) fn look(&self, read: impl FnOnce() -> (u64, Vec<Tally>)) -> u64 {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, tallies) = read();
        for (meters, tally) in self.meters.iter().zip(tallies) {
            if let Some(meter) = &meters.target {
                meter.observe(now, tally.good, tally.total());
            }
            if let Some(meter) = &meters.availability {
                meter.observe(now, tally.available(), tally.total());
            }
        }
        now
    }

    pub(super) fn left(&self, now: u64) -> impl Iterator<Item = Left> {
        self.meters.iter().map(move |meters| {
            let left = |meter: &Option<BurnMeter>| meter.as_ref().map(|meter| meter.budget(now));
            (left(&meters.target), left(&meters.availability))
        })
    }
}
