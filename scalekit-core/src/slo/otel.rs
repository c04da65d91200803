//! OpenTelemetry: all families through a meter of the application's own.

mod collection;

use std::collections::HashMap;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Histogram, Meter};

use self::collection::{Collections, Point, Read, Seen};
use super::bounds::Bounds;
use super::families::{self, Family, Kind};
use super::handle::Slo;
use super::naming::Name;

/// What has been replayed of one histogram: the count of each bucket, and the sum of the values that stood for them.
type Replayed = (Vec<u64>, f64);

impl Slo {
    /// Exports everything through this meter, under the names of the semantic conventions; call it once per provider.
    ///
    /// Nothing is added to the way of a request: counters and gauges are observed when the provider's readers collect,
    /// and what histograms counted since is replayed into the provider's then, one record for each request. Call it
    /// before traffic comes: what was counted until then is replayed at once.
    ///
    /// **Guarantee**: counters, and the counts of all buckets, are exact at each collection, for any number of readers,
    /// cumulative or delta; all instruments of a collection show the same moment, if it takes less than a second. Sums
    /// are right to rounding.
    ///
    /// **Non-guarantee**: the SDK keeps 2,000 series of an instrument and folds the others into `otel.metric.overflow`,
    /// which shows one of them: an app with hundreds of routes gives `scalekit.http.outcomes` and the durations a view
    /// with a larger `with_cardinality_limit`. A view that drops an attribute of a counter shows one series of those that
    /// differ in it, not their sum: add up in the collector. One that changes the bounds of a histogram gets values
    /// that lie in the right bucket of ours only; minimum and maximum are those of buckets. One that drops the gauge
    /// `scalekit.slo.exported` stops the histograms, which are fed when it is read. With several readers, a series that
    /// has gone may come once more.
    ///
    /// ```
    /// # use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
    /// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
    /// # let slo = Slo::new(ObjectiveSet::builder("shop").objective(objective).build()?);
    /// // The application's provider, or the global one if that is what it uses.
    /// let meter = opentelemetry::global::meter("shop");
    /// slo.export_to(&meter);
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn export_to(&self, meter: &Meter) {
        let all = Arc::new(Collections::of(self.clone()));
        let mut histograms = Vec::new();
        for Family { name, kind, help, .. } in families::of(slice::from_ref(self)) {
            let all = all.clone();
            match kind {
                Kind::Counter => drop(
                    meter
                        .u64_observable_counter(name.otel)
                        .with_unit(name.unit)
                        .with_description(help)
                        .with_callback(move |observer| all.show(name, observer, whole))
                        .build(),
                ),
                Kind::Sum => drop(
                    meter
                        .f64_observable_counter(name.otel)
                        .with_unit(name.unit)
                        .with_description(help)
                        .with_callback(move |observer| all.show(name, observer, number))
                        .build(),
                ),
                Kind::Level => drop(
                    meter
                        .i64_observable_up_down_counter(name.otel)
                        .with_unit(name.unit)
                        .with_description(help)
                        .with_callback(move |observer| all.show(name, observer, signed))
                        .build(),
                ),
                Kind::Gauge => drop(
                    meter
                        .f64_observable_gauge(name.otel)
                        .with_unit(name.unit)
                        .with_description(help)
                        .with_callback(move |observer| all.show(name, observer, number))
                        .build(),
                ),
                Kind::Histogram => {
                    let histogram =
                        meter.f64_histogram(name.otel).with_unit(name.unit).with_description(help);
                    histograms.push((name, histogram.with_boundaries(self.bounds().seconds()).build()));
                }
            }
        }
        let pump = Pump { bounds: self.bounds().clone(), histograms, replayed: Mutex::default() };
        let _registered = meter
            .u64_observable_gauge(EXPORTED.otel)
            .with_description("1 while the histograms of this process are exported.")
            .with_callback(move |observer| {
                pump.replay(&all.seen_for(EXPORTED));
                observer.observe(1, &[]);
            })
            .build();
    }
}

/// What carries the histograms.
const EXPORTED: Name = Name::own("scalekit_slo_exported", "scalekit.slo.exported", "1");

impl Collections {
    /// Shows all values of one family.
    fn show<T>(&self, name: Name, observer: &dyn AsyncInstrument<T>, read: fn(&Read) -> Option<T>) {
        for Point { attributes, value } in self.seen_for(name).get(&name).into_iter().flatten() {
            if let Some(value) = read(value) {
                observer.observe(value, attributes);
            }
        }
    }
}

/// Carries what histograms have counted into those of a provider.
struct Pump {
    bounds: Arc<Bounds>,
    histograms: Vec<(Name, Histogram<f64>)>,
    replayed: Mutex<HashMap<(Name, Vec<KeyValue>), Replayed>>,
}

impl Pump {
    fn replay(&self, seen: &Seen) {
        // Held over the recording: of two readers that collect at once, what the first has replayed is not new to the
        // second, which may have looked before.
        let mut replayed = self.replayed.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, histogram) in &self.histograms {
            for Point { attributes, value } in seen.get(name).into_iter().flatten() {
                let Read::Times(counts, sum) = value else { continue };
                let before = replayed.entry((*name, attributes.clone())).or_default();
                for (value, count) in news(before, counts, *sum, &self.bounds) {
                    (0..count).for_each(|_| histogram.record(value, attributes));
                }
            }
        }
    }
}

/// What is new in a histogram since it was replayed: how many values of which size.
///
/// Each stands where its bucket has it: all at the same share of the way from the lower to the upper bound, chosen so that
/// they add up to what the sum has grown by. In the bucket without upper bound they are what is missing then.
fn news(before: &mut Replayed, now: &[u64], sum_now: f64, bounds: &Bounds) -> Vec<(f64, u64)> {
    let (counts, sum) = before;
    counts.resize(now.len(), 0);
    let mut fresh = Vec::new();
    let (mut lowest, mut width) = (0.0, 0.0);
    let mut endless = None;
    for (bucket, (count, old)) in now.iter().zip(counts.iter_mut()).enumerate() {
        let new = count.saturating_sub(*old);
        // Another reader may have looked later and replayed sooner.
        *old = (*old).max(*count);
        if new == 0 {
            continue;
        }
        match bounds.limits(bucket) {
            (low, Some(high)) => {
                lowest += low * new as f64;
                width += (high - low) * new as f64;
                fresh.push((low, high, new));
            }
            (low, None) => endless = Some((low, new)),
        }
    }
    let grown = sum_now - *sum;
    let share = |left: f64| if width > 0.0 { ((left - lowest) / width).clamp(1e-6, 1.0) } else { 1.0 };
    let way = match endless {
        None => share(grown),
        Some((low, count)) => share(grown - 2.0 * low * count as f64).min(0.5),
    };
    let mut values: Vec<(f64, u64)> =
        fresh.into_iter().map(|(low, high, count)| (low + (high - low) * way, count)).collect();
    if let Some((low, count)) = endless {
        let placed: f64 = values.iter().map(|(value, count)| value * *count as f64).sum();
        let each = (grown - placed) / count as f64;
        values.push((each.max(low * (1.0 + 1e-9)), count));
    }
    // What was placed, and not the sum that was read: that may be ahead of the counts by a value that is counted while
    // they are read, whose share is then still to come.
    *sum += values.iter().map(|(value, count)| value * *count as f64).sum::<f64>();
    values
}

impl Bounds {
    /// All of them in seconds.
    fn seconds(&self) -> Vec<f64> {
        self.nanos.iter().map(|nanos| *nanos as f64 / 1e9).collect()
    }

    /// Below and up to what a bucket counts, in seconds; the last one has no upper bound.
    fn limits(&self, bucket: usize) -> (f64, Option<f64>) {
        let at = |bucket: usize| self.nanos.get(bucket).map(|nanos| *nanos as f64 / 1e9);
        (bucket.checked_sub(1).and_then(at).unwrap_or(0.0), at(bucket))
    }
}

fn whole(value: &Read) -> Option<u64> {
    match value {
        Read::Whole(value) => Some(*value),
        Read::Number(_) | Read::Times(..) => None,
    }
}

fn signed(value: &Read) -> Option<i64> {
    whole(value).map(|value| i64::try_from(value).unwrap_or(i64::MAX))
}

fn number(value: &Read) -> Option<f64> {
    match value {
        Read::Whole(value) => Some(*value as f64),
        Read::Number(value) => Some(*value),
        Read::Times(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_that_was_read_ahead_of_its_counts_is_made_up_for() {
        let bounds = Bounds::with_thresholds(std::iter::empty());
        let mut before = Replayed::default();
        let mut placed = 0.0;
        // Values of 0.2 s; at some looks one of them is in the sum and not in the counts yet.
        for (counted, summed) in [(1, 1), (1, 2), (3, 3), (3, 4), (7, 8), (7, 8), (8, 8), (500, 500)] {
            let mut counts = vec![0; bounds.buckets()];
            counts[bounds.bucket(200_000_000)] = counted;
            for (value, count) in news(&mut before, &counts, f64::from(summed) * 0.2, &bounds) {
                assert!(value > 0.1 && value <= 0.25, "{value} belongs to another bucket");
                placed += value * count as f64;
            }
        }
        assert!((placed - 100.0).abs() < 1e-9, "{placed}");
    }
}
