//! One line for each point of a request, with all that a test asks of it.
use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{
        AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
        metric::Data, number_data_point::Value as Number,
    },
};

/// A point of a metric, with what it stands under.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpPoint {
    /// The attributes of the resource, such as `service.name`.
    pub resource: BTreeMap<String, String>,
    /// The name of the instrumentation scope.
    pub scope: String,
    /// The name of the instrument.
    pub name: String,
    /// Its unit, such as `s` or `{request}`.
    pub unit: String,
    /// What it says of itself.
    pub description: String,
    /// The attributes of the point; numbers and booleans as text.
    pub attributes: BTreeMap<String, String>,
    /// When the count began, in nanoseconds since 1970.
    pub start_time: u64,
    /// When it was read, in nanoseconds since 1970.
    pub time: u64,
    /// The kind and the value.
    pub data: OtlpData,
}

/// What kind of point it is, and its value. A value that was not sent is NaN.
#[derive(Debug, Clone, PartialEq)]
pub enum OtlpData {
    /// The last value.
    Gauge(f64),
    /// A sum.
    Sum {
        /// Since the start time.
        value: f64,
        /// Whether it only grows: a counter.
        monotonic: bool,
        /// What the start time is.
        temporality: OtlpTemporality,
    },
    /// A histogram with bounds of its own.
    Histogram {
        /// How many values.
        count: u64,
        /// Their sum.
        sum: f64,
        /// The upper bounds, inclusive, of all buckets but the last.
        bounds: Vec<f64>,
        /// How many values are in each bucket, one more than there are bounds.
        bucket_counts: Vec<u64>,
        /// What the start time is.
        temporality: OtlpTemporality,
    },
    /// An exponential histogram or a summary: see [`received`](crate::OtlpReceiver::received).
    Other,
}

/// What a sum or histogram counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpTemporality {
    /// From the start of the process.
    Cumulative,
    /// From the export before.
    Delta,
    /// It was not said, which the protocol forbids.
    Unspecified,
}

impl OtlpPoint {
    /// The points of a request in their order.
    pub(super) fn of(request: &ExportMetricsServiceRequest) -> Vec<Self> {
        let mut points = Vec::new();
        for resource in &request.resource_metrics {
            for scope in &resource.scope_metrics {
                for metric in &scope.metrics {
                    read(resource, scope, metric, &mut points);
                }
            }
        }
        points
    }
}

fn read(resource: &ResourceMetrics, scope: &ScopeMetrics, metric: &Metric, points: &mut Vec<OtlpPoint>) {
    let mut add = |attributes: &[KeyValue], start_time, time, data| {
        points.push(OtlpPoint {
            resource: resource.resource.as_ref().map(|r| map(&r.attributes)).unwrap_or_default(),
            scope: scope.scope.as_ref().map(|s| s.name.clone()).unwrap_or_default(),
            name: metric.name.clone(),
            unit: metric.unit.clone(),
            description: metric.description.clone(),
            attributes: map(attributes),
            start_time,
            time,
            data,
        });
    };
    match &metric.data {
        Some(Data::Gauge(gauge)) => {
            for p in &gauge.data_points {
                add(&p.attributes, p.start_time_unix_nano, p.time_unix_nano, OtlpData::Gauge(number(p)));
            }
        }
        Some(Data::Sum(sum)) => {
            let temporality = temporality(sum.aggregation_temporality);
            for p in &sum.data_points {
                let data = OtlpData::Sum { value: number(p), monotonic: sum.is_monotonic, temporality };
                add(&p.attributes, p.start_time_unix_nano, p.time_unix_nano, data);
            }
        }
        Some(Data::Histogram(histogram)) => {
            let temporality = temporality(histogram.aggregation_temporality);
            for p in &histogram.data_points {
                add(&p.attributes, p.start_time_unix_nano, p.time_unix_nano, buckets(p, temporality));
            }
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            for p in &histogram.data_points {
                add(&p.attributes, p.start_time_unix_nano, p.time_unix_nano, OtlpData::Other);
            }
        }
        Some(Data::Summary(summary)) => {
            for p in &summary.data_points {
                add(&p.attributes, p.start_time_unix_nano, p.time_unix_nano, OtlpData::Other);
            }
        }
        None => {}
    }
}

fn buckets(point: &HistogramDataPoint, temporality: OtlpTemporality) -> OtlpData {
    OtlpData::Histogram {
        count: point.count,
        sum: point.sum.unwrap_or(f64::NAN),
        bounds: point.explicit_bounds.clone(),
        bucket_counts: point.bucket_counts.clone(),
        temporality,
    }
}

fn temporality(sent: i32) -> OtlpTemporality {
    match AggregationTemporality::try_from(sent) {
        Ok(AggregationTemporality::Cumulative) => OtlpTemporality::Cumulative,
        Ok(AggregationTemporality::Delta) => OtlpTemporality::Delta,
        Ok(AggregationTemporality::Unspecified) | Err(_) => OtlpTemporality::Unspecified,
    }
}

fn number(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(Number::AsDouble(value)) => value,
        Some(Number::AsInt(value)) => value as f64,
        None => f64::NAN,
    }
}

fn map(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}
