//! Histograms of 14 bounds and three labels: how each library records a duration, and how it is scraped.

use std::{sync::Arc, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{HistogramOpts, HistogramVec, Registry, TextEncoder};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
};
use scalekit_core::{Hop, Observer, slo::Slo};

/// OpenTelemetry's bounds for the duration of a request, in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const NAME: &str = "request_duration_seconds";
const LABELS: [&str; 3] = ["method", "route", "status"];

/// Something that records durations.
pub struct Recorder {
    /// Who, and by which call.
    pub name: &'static str,
    /// Records all of them.
    pub record: Box<dyn Fn(&[Duration]) + Send + Sync>,
    /// What its library wants to be called now and then.
    pub upkeep: Box<dyn Fn()>,
}

/// All of them, each with one series, ours first.
pub fn all() -> Vec<Recorder> {
    let slo = Slo::new(scalekit_bench::slo::objectives());
    let step = slo.step("paid").unwrap();
    let mut all = vec![
        recorder("scalekit: a journey's `Step`", move |took| took.iter().for_each(|took| step.done(*took))),
        recorder("scalekit: `Observer`, found by its labels", move |took| {
            took.iter().for_each(|took| slo.ended(Hop::Db, "load", "ok", *took));
        }),
    ];
    all.extend(opentelemetry());
    all.extend(metrics());
    all.extend(prometheus_client());
    all.extend(prometheus());
    all
}

fn recorder(name: &'static str, record: impl Fn(&[Duration]) + Send + Sync + 'static) -> Recorder {
    Recorder { name, record: Box::new(record), upkeep: Box::new(|| ()) }
}

fn opentelemetry() -> Vec<Recorder> {
    let (provider, _) = opentelemetry_registry();
    let histogram = opentelemetry_histogram(&provider);
    let attributes = opentelemetry_attributes("/orders/{id}");
    let bound = histogram.bind(&attributes);
    let plain = recorder("opentelemetry_sdk 0.33, attributes made before", move |took| {
        // Keeps the provider alive.
        let _provider = &provider;
        took.iter().for_each(|took| histogram.record(took.as_secs_f64(), &attributes));
    });
    let bound = recorder("opentelemetry_sdk 0.33, bound (experimental)", move |took| {
        took.iter().for_each(|took| bound.record(took.as_secs_f64()));
    });
    vec![plain, bound]
}

fn opentelemetry_registry() -> (SdkMeterProvider, Registry) {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
    (SdkMeterProvider::builder().with_reader(exporter).build(), registry)
}

fn opentelemetry_histogram(provider: &SdkMeterProvider) -> opentelemetry::metrics::Histogram<f64> {
    provider.meter("bench").f64_histogram(NAME).with_boundaries(BOUNDS.to_vec()).build()
}

fn opentelemetry_attributes(route: &str) -> [KeyValue; 3] {
    let [method, path, status] = LABELS;
    [KeyValue::new(method, "GET"), KeyValue::new(path, route.to_owned()), KeyValue::new(status, "200")]
}

fn metrics_recorder() -> metrics_exporter_prometheus::PrometheusRecorder {
    let builder = PrometheusBuilder::new();
    builder.set_buckets_for_metric(Matcher::Full(NAME.to_owned()), &BOUNDS).unwrap().build_recorder()
}

fn metrics() -> Vec<Recorder> {
    let recorder = Arc::new(metrics_recorder());
    let (handle, own) = (recorder.handle(), recorder.clone());
    let bound = metrics::with_local_recorder(
        &*recorder,
        || metrics::histogram!(NAME, "method" => "GET", "route" => "/carts/{id}", "status" => "200"),
    );
    let plain = Recorder {
        name: "metrics 0.24 + exporter 0.18, by its macro",
        record: Box::new(move |took| {
            metrics::with_local_recorder(&*own, || {
                for took in took {
                    metrics::histogram!(NAME, "method" => "GET", "route" => "/orders/{id}", "status" => "200")
                        .record(took.as_secs_f64());
                }
            });
        }),
        upkeep: Box::new(move || handle.run_upkeep()),
    };
    let handle = recorder.handle();
    let bound = Recorder {
        name: "metrics 0.24 + exporter 0.18, by a handle",
        record: Box::new(move |took| took.iter().for_each(|took| bound.record(took.as_secs_f64()))),
        upkeep: Box::new(move || handle.run_upkeep()),
    };
    vec![plain, bound]
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: String,
    route: String,
    status: String,
}

impl Labels {
    fn of(route: &str) -> Self {
        Self { method: "GET".to_owned(), route: route.to_owned(), status: "200".to_owned() }
    }
}

fn prometheus_client_family() -> Family<Labels, Histogram> {
    Family::new_with_constructor(|| Histogram::new(BOUNDS))
}

fn prometheus_client() -> Vec<Recorder> {
    let family = prometheus_client_family();
    let child = family.get_or_create(&Labels::of("/carts/{id}")).clone();
    vec![
        recorder("prometheus-client 0.25, `get_or_create`", move |took| {
            took.iter().for_each(|took| {
                family.get_or_create(&Labels::of("/orders/{id}")).observe(took.as_secs_f64());
            });
        }),
        recorder("prometheus-client 0.25, by a handle", move |took| {
            took.iter().for_each(|took| child.observe(took.as_secs_f64()));
        }),
    ]
}

fn prometheus_vec() -> HistogramVec {
    let options = HistogramOpts::new(NAME, "How long requests took.").buckets(BOUNDS.to_vec());
    HistogramVec::new(options, &LABELS).unwrap()
}

fn prometheus() -> Vec<Recorder> {
    let vec = prometheus_vec();
    let child = vec.with_label_values(&["GET", "/carts/{id}", "200"]);
    vec![
        recorder("prometheus 0.14, `with_label_values`", move |took| {
            took.iter().for_each(|took| {
                vec.with_label_values(&["GET", "/orders/{id}", "200"]).observe(took.as_secs_f64());
            });
        }),
        recorder("prometheus 0.14, by a handle", move |took| {
            took.iter().for_each(|took| child.observe(took.as_secs_f64()));
        }),
    ]
}

/// Something that is scraped.
pub struct Scraped {
    /// Who.
    pub name: &'static str,
    /// The text of a scrape.
    pub scrape: Box<dyn Fn() -> String>,
}

/// How many series are scraped.
pub const SIZES: [usize; 2] = [1_000, 10_000];

/// How many series a text has.
pub fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

/// Each with about so many series: histograms of one sample, and with ours what belongs to a route beside them.
pub fn scraped(series: usize) -> Vec<Scraped> {
    // Fifteen buckets, a count and a sum.
    let histograms = series.div_ceil(BOUNDS.len() + 3);
    let routes: Vec<String> = (0..histograms).map(|n| format!("/route/{n}/{{id}}")).collect();
    let (provider, registry) = opentelemetry_registry();
    let histogram = opentelemetry_histogram(&provider);
    routes.iter().for_each(|route| histogram.record(0.2, &opentelemetry_attributes(route)));
    let recorder = metrics_recorder();
    metrics::with_local_recorder(&recorder, || {
        for route in &routes {
            let route = route.clone();
            metrics::histogram!(NAME, "method" => "GET", "route" => route, "status" => "200").record(0.2);
        }
    });
    let handle = recorder.handle();
    let family = prometheus_client_family();
    routes.iter().for_each(|route| family.get_or_create(&Labels::of(route)).observe(0.2));
    let mut client = prometheus_client::registry::Registry::default();
    client.register(NAME, "How long requests took", family);
    let vec = prometheus_vec();
    routes.iter().for_each(|route| vec.with_label_values(&["GET", route, "200"]).observe(0.2));
    let own = Registry::new();
    own.register(Box::new(vec)).unwrap();
    vec![
        Scraped { name: "scalekit", scrape: scalekit(series) },
        Scraped {
            name: "opentelemetry_sdk + opentelemetry-prometheus 0.33",
            scrape: Box::new(move || {
                let _provider = &provider;
                TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
            }),
        },
        Scraped {
            name: "metrics-exporter-prometheus 0.18",
            scrape: Box::new(move || {
                let _recorder = &recorder;
                handle.render()
            }),
        },
        Scraped {
            name: "prometheus-client 0.25",
            scrape: Box::new(move || {
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &client).unwrap();
                text
            }),
        },
        Scraped {
            name: "prometheus 0.14",
            scrape: Box::new(move || TextEncoder::new().encode_to_string(&own.gather()).unwrap()),
        },
    ]
}

/// Routes by five methods: each has a histogram of its answers and one of its heads, outcomes and gauges.
fn scalekit(wanted: usize) -> Box<dyn Fn() -> String> {
    let slo = Slo::new(scalekit_bench::slo::objectives());
    let empty = series(&slo.render());
    scalekit_bench::slo::visit(&slo, 1);
    let each = series(&slo.render()) - empty;
    scalekit_bench::slo::visit(&slo, wanted.saturating_sub(empty).div_ceil(each));
    Box::new(move || slo.render())
}
