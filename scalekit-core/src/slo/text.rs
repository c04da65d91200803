//! Prometheus' text format and OpenMetrics of all families.

use http::HeaderValue;

use super::exposition::{push_head, push_label, push_sample};
use super::families::{self, Family, Kind, Series, Times, Value};
use super::handle::Slo;

/// The `Content-Type` of [`Slo::render`](super::Slo::render) and [`Exposition::render`](super::Exposition::render);
/// a scrape without one fails in Prometheus 3.
///
/// ```
/// assert!(scalekit_core::slo::CONTENT_TYPE.starts_with("text/plain"));
/// ```
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which of the two formats: they differ in the heads of families, and in their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// What a scraper accepts, by its `Accept` header: OpenMetrics where that is named, else Prometheus' own.
    pub(super) fn accepted(accept: Option<&HeaderValue>) -> Self {
        let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let wanted = accept.split(',').any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let named =
                parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
            let refused = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0_f32);
            named && !parts.any(refused)
        });
        if wanted { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Prometheus => CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

pub(super) fn render(slos: &[Slo], format: Format) -> String {
    let naming = families::naming(slos);
    let mut out = String::new();
    let mut labels = String::new();
    for Family { name, kind, help, series } in families::of(slos) {
        let name = name.of(naming);
        // OpenMetrics names the family of a counter without the ending of its samples.
        let family = match (format, kind) {
            (Format::OpenMetrics, Kind::Counter | Kind::Sum) => name.trim_end_matches("_total"),
            _ => name,
        };
        push_head(&mut out, family, help, kind.as_str());
        let parts = ["bucket", "sum", "count"].map(|part| format!("{name}_{part}"));
        for Series { slo, labels: own, value } in series {
            labels.clear();
            labels.push_str(slo.labels());
            own.iter().for_each(|(name, value)| push_label(&mut labels, name.of(naming), value));
            match value {
                Value::Whole(value) => push_sample(&mut out, name, &labels, value),
                Value::Number(value) => push_sample(&mut out, name, &labels, value),
                Value::Times(times) => push_times(&mut out, &parts, &mut labels, &times),
            }
        }
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn push_times(
    out: &mut String,
    [bucket_name, sum_name, count_name]: &[String; 3],
    labels: &mut String,
    times: &Times<'_>,
) {
    let own = labels.len();
    let mut count = 0;
    for (bucket, n) in times.counts.iter().enumerate() {
        count += n;
        push_label(labels, "le", times.bounds.text(bucket));
        push_sample(out, bucket_name, labels, count);
        labels.truncate(own);
    }
    push_sample(out, sum_name, labels, times.sum);
    push_sample(out, count_name, labels, count);
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter | Self::Sum => "counter",
            Self::Level | Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}
