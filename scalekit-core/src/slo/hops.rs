//! What the crates of the family, and the application, report of themselves: times per hop, queues that lag.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::bounds::{Bounds, nanos};
use super::handle::Slo;
use super::histogram::CutHistogram;
use crate::{Hop, Observer};

/// How many operations with their outcomes have series of their own; later ones are counted together as `_other`.
///
/// ```
/// assert_eq!(scalekit_core::slo::MAX_OPERATIONS, 256);
/// ```
pub const MAX_OPERATIONS: usize = 256;

/// What is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Operation {
    pub(super) hop: Hop,
    pub(super) name: &'static str,
    pub(super) outcome: &'static str,
}

/// Each with its times.
type Known = HashMap<Operation, Arc<CutHistogram>>;

/// The times of all operations; readers never wait for one that is seen for the first time.
#[derive(Default)]
pub(super) struct Hops {
    known: ArcSwap<Known>,
    grow: Mutex<()>,
}

impl Hops {
    pub(super) fn record(&self, operation: Operation, took: Duration, bounds: &Arc<Bounds>) {
        let known = self.known.load();
        match known.get(&operation) {
            Some(times) => times.record(nanos(took)),
            None => self.learn(operation, bounds).record(nanos(took)),
        }
    }

    /// All of them, in order.
    pub(super) fn all(&self) -> Vec<(Operation, Arc<CutHistogram>)> {
        let mut all: Vec<_> =
            self.known.load().iter().map(|(operation, times)| (*operation, times.clone())).collect();
        all.sort_unstable_by_key(|(operation, _)| *operation);
        all
    }

    fn learn(&self, operation: Operation, bounds: &Arc<Bounds>) -> Arc<CutHistogram> {
        let _one_at_a_time = self.grow.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        let place = if known.len() < MAX_OPERATIONS || known.contains_key(&operation) {
            operation
        } else {
            Operation { name: "_other", outcome: "_other", ..operation }
        };
        if let Some(times) = known.get(&place) {
            return times.clone();
        }
        let times = Arc::new(CutHistogram::new(bounds));
        let mut grown = Known::clone(&known);
        grown.insert(place, times.clone());
        self.known.store(Arc::new(grown));
        times
    }
}

/// Counts what the crates report; [`Slo::signals`] is what they take.
impl Observer for Slo {
    fn ended(&self, hop: Hop, operation: &'static str, outcome: &'static str, took: Duration) {
        let operation = Operation { hop, name: operation, outcome };
        self.hops().record(operation, took, self.bounds());
    }

    fn expects(&self, queue: &'static str, of: &str) {
        self.lags().expect(queue, of);
    }

    fn behind(&self, queue: &'static str, of: &str, items: u64, seconds: f64) {
        self.lags().observe(self.now(), queue, of, items, seconds);
    }
}
