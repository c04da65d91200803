//! The queues that somebody watches, by name.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::lag::{Lag, LagGauge, LagReading};

/// How many queues are told apart; later ones are not kept, so that names that come from data cost nothing.
const MAX_QUEUES: usize = 256;

/// A queue, and which of that name.
pub(super) type Queue = (&'static str, Box<str>);

/// The last observation of each queue.
#[derive(Default)]
pub(super) struct Lags(Mutex<BTreeMap<Queue, LagGauge>>);

impl Lags {
    /// Shows the queue, as one that nobody has observed.
    pub(super) fn expect(&self, queue: &'static str, of: &str) {
        self.with(queue, of, |_| ());
    }

    pub(super) fn observe(&self, now: u64, queue: &'static str, of: &str, items: u64, seconds: f64) {
        let age = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        self.with(queue, of, |gauge| gauge.observe(now, Lag::items(items).and_age(age)));
    }

    fn with(&self, queue: &'static str, of: &str, look: impl FnOnce(&LagGauge)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = (queue, of.into());
        if known.len() < MAX_QUEUES || known.contains_key(&queue) {
            look(known.entry(queue).or_default());
        }
    }

    pub(super) fn read(&self, now: u64) -> Vec<(Queue, LagReading)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(queue, gauge)| (queue.clone(), gauge.read(now))).collect()
    }
}
