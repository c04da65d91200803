//! One look at all families for all instruments of one collection.

use std::collections::HashMap;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;

use crate::slo::families::{self, Family, Series, Value};
use crate::slo::handle::Slo;
use crate::slo::naming::{Name, STATUS};

/// A collection that takes longer looks again in between.
const LASTS: Duration = Duration::from_secs(1);
/// Threads whose last look is kept beyond that.
const MAX_THREADS: usize = 8;

/// What one look has found: each family with its series.
pub(super) type Seen = HashMap<Name, Vec<Point>>;

/// A value and what it is of, without borrowing the counters.
pub(super) struct Point {
    pub(super) attributes: Vec<KeyValue>,
    pub(super) value: Read,
}

pub(super) enum Read {
    Whole(u64),
    Number(f64),
    /// The count of each bucket, and the sum in seconds.
    Times(Vec<u64>, f64),
}

/// The looks of the collections that are under way.
///
/// A provider asks each instrument of its own, all those of a collection on one thread. An instrument that is asked
/// again belongs to the next collection: so one look serves a collection whatever instruments a view leaves of it.
pub(super) struct Collections {
    slo: Slo,
    looks: Mutex<HashMap<ThreadId, Look>>,
}

struct Look {
    at: Instant,
    seen: Arc<Seen>,
    asked: Vec<Name>,
}

impl Collections {
    pub(super) fn of(slo: Slo) -> Self {
        Self { slo, looks: Mutex::default() }
    }

    /// What an instrument is to show.
    pub(super) fn seen_for(&self, name: Name) -> Arc<Seen> {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let current = looks.get_mut(&thread::current().id());
        if let Some(look) = current.filter(|look| look.at.elapsed() < LASTS && !look.asked.contains(&name)) {
            look.asked.push(name);
            return look.seen.clone();
        }
        if looks.len() >= MAX_THREADS {
            looks.retain(|_, look| look.at.elapsed() < LASTS);
        }
        let seen = Arc::new(self.look());
        let look = Look { at: Instant::now(), seen: seen.clone(), asked: vec![name] };
        looks.insert(thread::current().id(), look);
        seen
    }

    fn look(&self) -> Seen {
        let point = |Series { labels, value, .. }: Series<'_>| Point {
            attributes: self.attributes(&labels),
            value: match value {
                Value::Whole(value) => Read::Whole(value),
                Value::Number(value) => Read::Number(value),
                Value::Times(times) => Read::Times(times.counts, times.sum),
            },
        };
        let families = families::of(slice::from_ref(&self.slo)).into_iter();
        families.map(|Family { name, series, .. }| (name, series.into_iter().map(point).collect())).collect()
    }

    fn attributes(&self, labels: &[(Name, std::borrow::Cow<'_, str>)]) -> Vec<KeyValue> {
        let constants = self.slo.constants().iter();
        let constants = constants.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let own = labels.iter().map(|(name, value)| {
            // A number by the conventions; that of several statuses together is none.
            let status = (*name == STATUS).then(|| value.parse::<i64>().ok()).flatten();
            match status {
                Some(status) => KeyValue::new(name.otel, status),
                None => KeyValue::new(name.otel, value.clone().into_owned()),
            }
        });
        constants.chain(own).collect()
    }
}
