//! What a collector gets by OTLP: every instrument, and exactly what was counted, cumulative and delta.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::MatchedPath,
    http::{Method, Request, StatusCode},
    routing::post,
};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use scalekit_core::{
    Hop,
    slo::{Objective, ObjectiveSet, Slo},
};
use scalekit_testkit::{
    OtlpClient, OtlpData, OtlpPoint, OtlpReceiver, OtlpTemporality, Rng, evidence, full, seed,
};
use tower::ServiceExt;

const T: Duration = Duration::from_millis(300);

fn shop() -> Slo {
    let checkout = Objective::new("checkout").route(Method::POST, "/checkout");
    let checkout = checkout.latency(T).target(0.99).availability(0.999);
    let paid = Objective::new("paid").route(Method::POST, "/checkout").until("paid").latency(T).target(0.9);
    let set = ObjectiveSet::builder("shop").objective(checkout).objective(paid).build().unwrap();
    Slo::builder(set).label("pod", "1").build().unwrap()
}

/// A receiver for each temporality, and the provider that exports to both when it is flushed.
struct Collectors {
    cumulative: OtlpReceiver,
    delta: OtlpReceiver,
    provider: SdkMeterProvider,
}

impl Collectors {
    async fn of(slo: &Slo) -> Self {
        let (cumulative, delta) = (OtlpReceiver::start().await, OtlpReceiver::start().await);
        let reader = |receiver: &OtlpReceiver, temporality| {
            let exporter = MetricExporter::builder().with_temporality(temporality).with_http();
            let exporter =
                exporter.with_http_client(OtlpClient).with_endpoint(receiver.url()).build().unwrap();
            // Only the flushes below export.
            PeriodicReader::builder(exporter).with_interval(Duration::from_secs(3_600)).build()
        };
        let provider = SdkMeterProvider::builder()
            .with_reader(reader(&cumulative, Temporality::Cumulative))
            .with_reader(reader(&delta, Temporality::Delta))
            .build();
        slo.export_to(&provider.meter("scalekit"));
        Self { cumulative, delta, provider }
    }

    /// What the last of these exports said.
    fn flush(&self) -> (Vec<OtlpPoint>, Vec<OtlpPoint>) {
        let seen = (self.cumulative.points().len(), self.delta.points().len());
        self.provider.force_flush().unwrap();
        (self.cumulative.points().split_off(seen.0), self.delta.points().split_off(seen.1))
    }
}

/// Counts per bucket and the sum of the one point of that name and these attributes.
fn histogram(points: &[OtlpPoint], name: &str) -> Option<(Vec<f64>, Vec<u64>, f64)> {
    let mut found = points.iter().filter(|point| point.name == name);
    let point = found.next()?;
    assert!(found.next().is_none(), "one point of {name}");
    match &point.data {
        OtlpData::Histogram { count, sum, bounds, bucket_counts, .. } => {
            assert_eq!(*count, bucket_counts.iter().sum::<u64>());
            Some((bounds.clone(), bucket_counts.clone(), *sum))
        }
        other => panic!("{name} is {other:?}"),
    }
}

#[tokio::test]
async fn each_bucket_is_that_of_an_integer_oracle_in_text_cumulative_and_delta() {
    let slo = shop();
    let collectors = Collectors::of(&slo).await;
    let step = slo.step("paid").unwrap();
    let mut rng = Rng::new(seed());
    let samples = if full() { 1_000_000 } else { 20_000 };
    let bounds_ms = [5, 10, 25, 50, 75, 100, 250, 300, 500, 750, 1_000, 1_200, 2_500, 5_000, 7_500, 10_000];
    let mut oracle = vec![0_u64; bounds_ms.len() + 1];
    let (mut sum_ns, mut deltas, mut last) = (0_u128, vec![0_u64; bounds_ms.len() + 1], Vec::new());
    // All whole milliseconds up to 10 s, where floats would go astray, and random nanoseconds up to 16 s.
    let boundaries = (1..=10_000_u64).map(|ms| ms * 1_000_000);
    let random: Vec<u64> = (0..samples).map(|_| rng.below(1 << 34)).collect();
    for (at, nanos) in boundaries.chain(random).enumerate() {
        step.done(Duration::from_nanos(nanos));
        let bucket = bounds_ms.iter().position(|ms| nanos <= ms * 1_000_000).unwrap_or(bounds_ms.len());
        oracle[bucket] += 1;
        sum_ns += u128::from(nanos);
        if at % (samples / 4) == samples / 8 {
            let (cumulative, delta) = collectors.flush();
            let (_, counts, _) = histogram(&cumulative, "scalekit.journey.duration").unwrap();
            assert_eq!(counts, oracle, "after {at}");
            for (sum, count) in
                deltas.iter_mut().zip(histogram(&delta, "scalekit.journey.duration").unwrap().1)
            {
                *sum += count;
            }
            last = counts;
        }
    }
    assert!(!last.is_empty());
    let (cumulative, delta) = collectors.flush();
    let (bounds, counts, sum) = histogram(&cumulative, "scalekit.journey.duration").unwrap();
    let exact = sum_ns as f64 / 1e9;
    assert!(
        bounds.iter().zip(bounds_ms).all(|(bound, ms)| (bound * 1e3 - ms as f64).abs() < 1e-9),
        "{bounds:?}"
    );
    assert_eq!(counts, oracle);
    assert!((sum - exact).abs() <= exact * 1e-9, "{sum} for {exact}");
    for (sum, count) in deltas.iter_mut().zip(histogram(&delta, "scalekit.journey.duration").unwrap().1) {
        *sum += count;
    }
    assert_eq!(deltas, oracle, "the deltas add up");

    let text = slo.render();
    let mut below = 0;
    for (count, le) in oracle.iter().zip(bounds_ms.iter().map(Some).chain([None])) {
        below += count;
        let le = le.map_or("+Inf".to_owned(), |ms| format!("{:?}", *ms as f64 / 1e3));
        let line = format!("_bucket{{pod=\"1\",slo=\"paid\",step=\"paid\",le=\"{le}\"}} {below}\n");
        assert!(text.contains(&line), "no {line} in {text}");
    }
    let good: u64 = oracle[..=7].iter().sum();
    assert!(text.contains(&format!("scalekit_slo_good_total{{pod=\"1\",slo=\"paid\"}} {good}\n")));
    let exported = cumulative
        .iter()
        .find(|point| point.name == "scalekit.slo.good" && point.attributes["scalekit.slo"] == "paid");
    assert!(matches!(exported.unwrap().data, OtlpData::Sum { value, .. } if value == good as f64));
    evidence(
        "durations counted by an integer oracle, by text, and by OTLP cumulative and delta",
        &format!("{samples} random ones and all 10000 whole milliseconds to 10 s"),
        "every bucket equal",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_instruments_of_a_collection_show_the_same_moment() {
    let slo = shop();
    let collectors = Collectors::of(&slo).await;
    let step = slo.step("paid").unwrap();
    std::thread::scope(|threads| {
        // Paced: each is replayed into the provider's histograms, too.
        let counting = threads.spawn(move || {
            for _ in 0..20_000 {
                step.done(T / 2);
                std::thread::yield_now();
            }
        });
        while !counting.is_finished() {
            for points in <[_; 2]>::from(collectors.flush()) {
                let count = |name: &str, zone: Option<&str>| {
                    let is = |point: &&OtlpPoint| {
                        let at = |key: &str| point.attributes.get(key).map(String::as_str);
                        point.name == name
                            && at("scalekit.slo") == Some("paid")
                            && at("scalekit.zone") == zone
                    };
                    match points.iter().find(is).map(|point| &point.data) {
                        Some(OtlpData::Sum { value, .. }) => *value,
                        other => panic!("{name} is {other:?}"),
                    }
                };
                let requests = count("scalekit.slo.requests", None);
                let zones = ["satisfied", "tolerating", "frustrated"];
                let zones: f64 = zones.iter().map(|zone| count("scalekit.slo.apdex", Some(zone))).sum();
                let good = [count("scalekit.slo.good", None), count("scalekit.slo.available", None), zones];
                assert_eq!(good, [requests; 3]);
            }
        }
    });
}

/// What each instrument must be: unit, kind, attributes beside the constant ones.
fn expected() -> BTreeMap<&'static str, (&'static str, &'static str, &'static [&'static str])> {
    const ROUTE: &[&str] = &["http.request.method", "http.route"];
    BTreeMap::from([
        (
            "http.server.request.duration",
            ("s", "histogram", &["http.request.method", "http.response.status_code", "http.route"] as &[_]),
        ),
        ("scalekit.http.server.head.duration", ("s", "histogram", ROUTE)),
        ("scalekit.http.server.stream.duration", ("s", "histogram", ROUTE)),
        ("scalekit.journey.duration", ("s", "histogram", &["scalekit.slo", "scalekit.step"])),
        (
            "scalekit.hop.duration",
            ("s", "histogram", &["scalekit.hop", "scalekit.operation", "scalekit.outcome"]),
        ),
        ("http.server.active_requests", ("{request}", "level", ROUTE)),
        ("scalekit.http.server.active_requests.max", ("{request}", "gauge", ROUTE)),
        ("scalekit.http.server.active_request.duration", ("s", "counter", ROUTE)),
        (
            "scalekit.http.outcomes",
            ("{request}", "counter", &["http.request.method", "http.route", "scalekit.outcome"]),
        ),
        ("scalekit.slo.requests", ("{request}", "counter", &["scalekit.slo"])),
        ("scalekit.slo.available", ("{request}", "counter", &["scalekit.slo"])),
        ("scalekit.slo.good", ("{request}", "counter", &["scalekit.slo"])),
        ("scalekit.slo.apdex", ("{request}", "counter", &["scalekit.slo", "scalekit.zone"])),
        ("scalekit.slo.threshold", ("s", "gauge", &["scalekit.slo"])),
        ("scalekit.slo.target", ("1", "gauge", &["scalekit.slo"])),
        ("scalekit.slo.availability_target", ("1", "gauge", &["scalekit.slo"])),
        ("scalekit.slo.burn_rate", ("1", "gauge", &["scalekit.promise", "scalekit.slo", "scalekit.window"])),
        ("scalekit.slo.budget_left", ("1", "gauge", &["scalekit.promise", "scalekit.slo"])),
        ("scalekit.lag.items", ("{item}", "gauge", &["scalekit.of", "scalekit.queue"])),
        ("scalekit.lag.age", ("s", "gauge", &["scalekit.of", "scalekit.queue"])),
        ("scalekit.lag.stale", ("1", "gauge", &["scalekit.of", "scalekit.queue"])),
    ])
}

#[tokio::test]
async fn every_instrument_arrives_with_its_unit_kind_and_attributes() {
    let slo = shop();
    let collectors = Collectors::of(&slo).await;
    let events = || async { ([("content-type", "text/event-stream")], Body::from("data: 1\n\n")) };
    let app = Router::new()
        .route("/checkout", post(|| async { StatusCode::CREATED }))
        .route("/events", post(events))
        .layer(slo.layer(|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)));
    for path in ["/checkout", "/events", "/nowhere"] {
        let answer = app.clone().oneshot(Request::post(path).body(Body::empty()).unwrap()).await.unwrap();
        axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
    }
    slo.step("paid").unwrap().done(T);
    slo.signals().start(Hop::Db, "acquire").end("ok");
    slo.signals().behind("outbox", "east", 3, 1.5);

    let (cumulative, delta) = collectors.flush();
    for (points, temporality) in
        [(&cumulative, OtlpTemporality::Cumulative), (&delta, OtlpTemporality::Delta)]
    {
        let mut expected = expected();
        let mut seen: BTreeMap<&str, BTreeSet<Vec<&str>>> = BTreeMap::new();
        for point in points.iter().filter(|point| point.name != "scalekit.slo.exported") {
            assert_eq!(point.attributes["pod"], "1", "{}", point.name);
            assert_eq!(point.scope, "scalekit");
            assert!(!point.description.is_empty(), "{}", point.name);
            let (unit, kind, _) =
                expected.get(point.name.as_str()).unwrap_or_else(|| panic!("{}", point.name));
            assert_eq!(point.unit, *unit, "{}", point.name);
            let is = match &point.data {
                OtlpData::Gauge(_) => "gauge",
                OtlpData::Sum { monotonic: true, temporality: of, .. } => {
                    assert_eq!(*of, temporality, "{}", point.name);
                    "counter"
                }
                OtlpData::Sum { .. } => "level",
                OtlpData::Histogram { temporality: of, .. } => {
                    assert_eq!(*of, temporality, "{}", point.name);
                    "histogram"
                }
                OtlpData::Other => "other",
            };
            assert_eq!(is, *kind, "{}", point.name);
            let own = point.attributes.keys().map(String::as_str).filter(|name| *name != "pod").collect();
            seen.entry(&point.name).or_default().insert(own);
        }
        for (name, shapes) in seen {
            let (_, _, attributes) = expected.remove(name).unwrap();
            // Each series has all of them, but that a request without a head has no status.
            assert!(shapes.iter().any(|shape| shape == attributes), "{name}: {shapes:?}");
        }
        assert!(expected.is_empty(), "{temporality:?}: not exported: {:?}", expected.keys());
    }
}
