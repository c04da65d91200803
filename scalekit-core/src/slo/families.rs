//! Everything that is exported, as values: each way out writes the same families.

mod objectives;
mod reported;
mod requests;

use std::borrow::Cow;

use super::bounds::Bounds;
use super::handle::Slo;
use super::histogram::{BucketCounts, CutHistogram};
use super::naming::{Name, Naming};

/// One metric with all its series.
pub(super) struct Family<'a> {
    pub(super) name: Name,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) series: Vec<Series<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Whole numbers that only grow.
    Counter,
    /// Numbers that only grow.
    Sum,
    /// Whole numbers that add up over processes.
    Level,
    Gauge,
    Histogram,
}

/// One value and what it is of.
pub(super) struct Series<'a> {
    /// The app it comes from, whose constant labels come first.
    pub(super) slo: &'a Slo,
    pub(super) labels: Vec<(Name, Cow<'a, str>)>,
    pub(super) value: Value<'a>,
}

pub(super) enum Value<'a> {
    Whole(u64),
    Number(f64),
    Times(Times<'a>),
}

/// A histogram: the count of each bucket, not cumulative, and the sum in seconds.
pub(super) struct Times<'a> {
    pub(super) counts: Vec<u64>,
    pub(super) sum: f64,
    pub(super) bounds: &'a Bounds,
}

impl<'a> Times<'a> {
    fn read(counts: &BucketCounts, bounds: &'a Bounds) -> Value<'a> {
        Value::Times(Self { counts: counts.counts().collect(), sum: counts.sum_seconds(), bounds })
    }

    fn cut(histogram: &CutHistogram, bounds: &'a Bounds) -> Value<'a> {
        Value::Times(Self { counts: histogram.counts(), sum: histogram.sum_seconds(), bounds })
    }
}

/// All families of these apps, each once.
pub(super) fn of(slos: &[Slo]) -> Vec<Family<'_>> {
    let now: Vec<(&Slo, u64)> = slos.iter().map(|slo| (slo, slo.look())).collect();
    let mut families = Vec::new();
    requests::add(&mut families, &now);
    objectives::add(&mut families, &now);
    reported::add(&mut families, &now);
    families
}

/// The name of an app's families.
pub(super) fn naming(slos: &[Slo]) -> Naming {
    slos.first().map_or(Naming::default(), Slo::naming)
}
