//! OpenTelemetry: all families through a meter of the application's own.

use std::collections::HashMap;
use std::slice;
use std::sync::{Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Histogram, Meter};

use super::bounds::Bounds;
use super::families::{self, Family, Kind, Series, Times, Value};
use super::handle::Slo;
use super::naming::{Name, STATUS};

/// What has been replayed of one histogram: the count of each bucket, and the sum of the values that stood for them.
type Replayed = (Vec<u64>, f64);

impl Slo {
    /// Exports everything through this meter, under the names of the semantic conventions; call it once per provider.
    ///
    /// Nothing is added to the way of a request: counters and gauges are observed when the provider's readers collect,
    /// and what histograms counted since is replayed into the provider's then.
    ///
    /// **Guarantee**: counters, and the counts of all buckets, are exact at each collection, for any number of readers,
    /// cumulative or delta. Sums are right to rounding. **Non-guarantee**: a view that changes the bounds of a
    /// histogram gets values that lie in the right bucket of ours only; minimum and maximum are those of buckets. A view
    /// that drops the gauge `scalekit.slo.exported` stops the histograms, which are fed when it is read.
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
        let mut histograms = Vec::new();
        for Family { name, kind, help, .. } in families::of(slice::from_ref(self)) {
            let slo = self.clone();
            match kind {
                Kind::Counter => drop(
                    meter
                        .u64_observable_counter(name.otel)
                        .with_unit(name.unit)
                        .with_description(help)
                        .with_callback(move |observer| slo.observe(name, observer, whole))
                        .build(),
                ),
                Kind::Sum => drop(
                    meter
                        .f64_observable_counter(name.otel)
                        .with_unit(name.unit)
                        .with_description(help)
                        .with_callback(move |observer| slo.observe(name, observer, number))
                        .build(),
                ),
                Kind::Level => drop(
                    meter
                        .i64_observable_up_down_counter(name.otel)
                        .with_unit(name.unit)
                        .with_description(help)
                        .with_callback(move |observer| slo.observe(name, observer, signed))
                        .build(),
                ),
                Kind::Gauge => drop(
                    meter
                        .f64_observable_gauge(name.otel)
                        .with_unit(name.unit)
                        .with_description(help)
                        .with_callback(move |observer| slo.observe(name, observer, number))
                        .build(),
                ),
                Kind::Histogram => {
                    let histogram =
                        meter.f64_histogram(name.otel).with_unit(name.unit).with_description(help);
                    histograms.push((name, histogram.with_boundaries(self.bounds().seconds()).build()));
                }
            }
        }
        let pump = Pump { slo: self.clone(), histograms, replayed: Mutex::default() };
        let _registered = meter
            .u64_observable_gauge("scalekit.slo.exported")
            .with_description("1 while the histograms of this process are exported.")
            .with_callback(move |observer| {
                pump.replay();
                observer.observe(1, &[]);
            })
            .build();
    }

    /// Shows all values of one family.
    fn observe<T>(&self, of: Name, observer: &dyn AsyncInstrument<T>, read: fn(&Value<'_>) -> Option<T>) {
        for Family { name, series, .. } in families::of(slice::from_ref(self)) {
            if name == of {
                for Series { labels, value, .. } in &series {
                    if let Some(value) = read(value) {
                        observer.observe(value, &self.attributes(labels));
                    }
                }
            }
        }
    }

    fn attributes(&self, labels: &[(Name, std::borrow::Cow<'_, str>)]) -> Vec<KeyValue> {
        let constant =
            self.constants().iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let own = labels.iter().map(|(name, value)| match value.parse::<i64>() {
            // A number by the conventions; that of several statuses together is none.
            Ok(status) if *name == STATUS => KeyValue::new(name.otel, status),
            _ => KeyValue::new(name.otel, value.clone().into_owned()),
        });
        constant.chain(own).collect()
    }
}

/// Carries what histograms have counted into those of a provider.
struct Pump {
    slo: Slo,
    histograms: Vec<(Name, Histogram<f64>)>,
    replayed: Mutex<HashMap<(Name, Vec<KeyValue>), Replayed>>,
}

impl Pump {
    fn replay(&self) {
        // Held over the recording: of two readers that collect at once, the second finds nothing left.
        let mut replayed = self.replayed.lock().unwrap_or_else(PoisonError::into_inner);
        for Family { name, series, .. } in families::of(slice::from_ref(&self.slo)) {
            let Some((_, histogram)) = self.histograms.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            for Series { labels, value, .. } in &series {
                let Value::Times(times) = value else { continue };
                let attributes = self.slo.attributes(labels);
                let before = replayed.entry((name, attributes)).or_default();
                let attributes = self.slo.attributes(labels);
                for (value, count) in news(before, times) {
                    (0..count).for_each(|_| histogram.record(value, &attributes));
                }
            }
        }
    }
}

/// What is new in a histogram since it was replayed: how many values of which size.
///
/// Each stands where its bucket has it: all at the same share of the way from the lower to the upper bound, chosen so that
/// they add up to what the sum has grown by. In the bucket without upper bound they are what is missing then.
fn news(before: &mut Replayed, times: &Times<'_>) -> Vec<(f64, u64)> {
    let (counts, sum) = before;
    counts.resize(times.counts.len(), 0);
    let mut fresh = Vec::new();
    let (mut lowest, mut width) = (0.0, 0.0);
    let mut endless = None;
    for (bucket, (count, old)) in times.counts.iter().zip(counts.iter_mut()).enumerate() {
        let new = count.saturating_sub(*old);
        *old = *count;
        if new == 0 {
            continue;
        }
        match times.bounds.limits(bucket) {
            (low, Some(high)) => {
                lowest += low * new as f64;
                width += (high - low) * new as f64;
                fresh.push((low, high, new));
            }
            (low, None) => endless = Some((low, new)),
        }
    }
    let grown = times.sum - *sum;
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

fn whole(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Whole(value) => Some(*value),
        Value::Number(_) | Value::Times(_) => None,
    }
}

fn signed(value: &Value<'_>) -> Option<i64> {
    whole(value).map(|value| i64::try_from(value).unwrap_or(i64::MAX))
}

fn number(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Whole(value) => Some(*value as f64),
        Value::Number(value) => Some(*value),
        Value::Times(_) => None,
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
            let times = Times { counts, sum: f64::from(summed) * 0.2, bounds: &bounds };
            for (value, count) in news(&mut before, &times) {
                assert!(value > 0.1 && value <= 0.25, "{value} belongs to another bucket");
                placed += value * count as f64;
            }
        }
        assert!((placed - 100.0).abs() < 1e-9, "{placed}");
    }
}
