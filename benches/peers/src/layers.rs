//! HTTP layers around an app, and the text of what each of them has counted.

use std::sync::OnceLock;

use axum::{Router, extract::MatchedPath};
use axum_otel_metrics::HttpMetricsLayerBuilder;
use axum_prometheus::{PrometheusMetricLayer, metrics_exporter_prometheus::PrometheusHandle};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_instrumentation_tower::http::server::LayerBuilder;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use scalekit_core::slo::Slo;

use crate::recorders::series;

/// An app inside a layer.
pub struct Layered {
    /// Who made the layer.
    pub name: &'static str,
    /// The app, ready to be called.
    pub app: Router,
    scrape: Box<dyn Fn() -> String>,
    /// The families of its durations; a stream is in one of them.
    durations: &'static [&'static str],
    in_flight: &'static str,
}

/// How a layer is put around an app.
pub type Wire = fn(Router) -> Layered;

/// Ours first.
pub const ALL: [Wire; 5] =
    [scalekit, axum_prometheus, tower_otel, axum_otel_metrics, opentelemetry_instrumentation_tower];

const DURATIONS: &[&str] = &["http_server_request_duration_seconds_count"];
const IN_FLIGHT: &str = "http_server_active_requests";

impl Layered {
    /// What a scrape would say.
    pub fn text(&self) -> String {
        (self.scrape)()
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        series(&self.text())
    }

    /// How many durations it has counted.
    pub fn durations(&self) -> f64 {
        let text = self.text();
        self.durations.iter().map(|family| sum(&text, family)).sum()
    }

    /// How many requests it believes to be in flight.
    pub fn in_flight(&self) -> f64 {
        sum(&self.text(), self.in_flight)
    }
}

fn sum(text: &str, family: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(family)?;
        // Without labels, or with.
        rest.starts_with([' ', '{']).then(|| line.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    values.sum()
}

fn scalekit(app: Router) -> Layered {
    let slo = Slo::new(scalekit_bench::slo::objectives());
    let layer = slo.layer(|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    Layered {
        name: "scalekit",
        app: app.layer(layer).with_state(()),
        scrape: Box::new(move || slo.render()),
        durations: &[
            "http_server_request_duration_seconds_count",
            "scalekit_http_server_stream_duration_seconds_count",
        ],
        in_flight: IN_FLIGHT,
    }
}

/// Its recorder is the process's own: all apps share the counters.
fn axum_prometheus(app: Router) -> Layered {
    static PAIR: OnceLock<(PrometheusMetricLayer<'static>, PrometheusHandle)> = OnceLock::new();
    let (layer, handle) = PAIR.get_or_init(PrometheusMetricLayer::pair);
    Layered {
        name: "axum-prometheus 0.10",
        app: app.layer(layer.clone()).with_state(()),
        scrape: Box::new(|| handle.render()),
        durations: &["axum_http_requests_duration_seconds_count"],
        in_flight: "axum_http_requests_pending",
    }
}

fn tower_otel(app: Router) -> Layered {
    let (provider, scrape) = provider();
    let layer = tower_otel::metrics::HttpLayer::server(&provider.meter("bench"));
    Layered {
        name: "tower-otel 0.12",
        app: app.layer(layer).with_state(()),
        scrape,
        durations: DURATIONS,
        in_flight: IN_FLIGHT,
    }
}

fn opentelemetry_instrumentation_tower(app: Router) -> Layered {
    let (provider, scrape) = provider();
    // It takes its meter from the process's provider, once.
    opentelemetry::global::set_meter_provider(provider);
    let layer = LayerBuilder::builder().with_tracing(false).build().unwrap();
    Layered {
        name: "opentelemetry-instrumentation-tower 0.19",
        app: app.layer(layer).with_state(()),
        scrape,
        durations: DURATIONS,
        in_flight: IN_FLIGHT,
    }
}

fn axum_otel_metrics(app: Router) -> Layered {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus_0_32::exporter().with_registry(registry.clone());
    let provider = opentelemetry_sdk_0_32::metrics::SdkMeterProvider::builder();
    let provider = provider.with_reader(exporter.build().unwrap()).build();
    let layer = HttpMetricsLayerBuilder::new().with_provider(provider.clone()).build();
    Layered {
        name: "axum-otel-metrics 0.14",
        app: app.layer(layer).with_state(()),
        scrape: text_of(registry, provider),
        durations: DURATIONS,
        in_flight: IN_FLIGHT,
    }
}

fn provider() -> (SdkMeterProvider, Box<dyn Fn() -> String>) {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    (provider.clone(), text_of(registry, provider))
}

/// A provider that is dropped shuts down, so it is kept.
fn text_of(registry: Registry, provider: impl Clone + 'static) -> Box<dyn Fn() -> String> {
    Box::new(move || {
        let _kept = &provider;
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    })
}
