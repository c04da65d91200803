//! Metrics that arrive by OTLP over HTTP: by hand, as garbage, and from the OpenTelemetry SDK.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_otlp::{MetricExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
    common::v1::{AnyValue, InstrumentationScope, KeyValue as Pair, any_value::Value},
    metrics::v1::{
        Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        Summary, SummaryDataPoint, metric::Data, number_data_point::Value as Number,
    },
    resource::v1::Resource as SentResource,
};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider, Temporality},
};
use prost::Message;
use scalekit_testkit::{OtlpClient, OtlpData, OtlpPoint, OtlpReceiver, OtlpTemporality};

const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

/// Status and body of the answer. Blocks: the receiver has a thread of its own.
fn send(addr: SocketAddr, start: &str, headers: &str, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    let head = format!(
        "{start} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[..end]).split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, answer.split_off(end + 4)))
}

fn post(receiver: &OtlpReceiver, body: &[u8]) -> (u16, Vec<u8>) {
    send(receiver.addr(), "POST /v1/metrics", PROTOBUF, body).unwrap()
}

fn pair(key: &str, value: Value) -> Pair {
    Pair { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.into(), unit: unit.into(), data: Some(data), ..Default::default() }
}

fn number(value: Option<Number>, attributes: Vec<Pair>) -> NumberDataPoint {
    NumberDataPoint { attributes, start_time_unix_nano: 7, time_unix_nano: 9, value, ..Default::default() }
}

fn request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let attributes = vec![pair("service.name", Value::StringValue("shop".into()))];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(SentResource { attributes, ..Default::default() }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope { name: "scalekit".into(), ..Default::default() }),
                metrics,
                ..Default::default()
            }],
            ..Default::default()
        }],
    }
}

#[tokio::test]
async fn every_kind_is_read() {
    let receiver = OtlpReceiver::start().await;
    let attributes = vec![
        pair("http.route", Value::StringValue("/pay".into())),
        pair("status", Value::IntValue(500)),
        pair("ratio", Value::DoubleValue(0.5)),
        pair("slow", Value::BoolValue(true)),
    ];
    let gauge = Gauge { data_points: vec![number(Some(Number::AsDouble(0.25)), attributes)] };
    let (cumulative, delta) = (2, 1);
    let sum = Sum {
        data_points: vec![number(Some(Number::AsInt(3)), vec![]), number(None, vec![])],
        aggregation_temporality: cumulative,
        is_monotonic: true,
    };
    let histogram = Histogram {
        data_points: vec![HistogramDataPoint {
            count: 3,
            sum: Some(2.5),
            bucket_counts: vec![1, 2],
            explicit_bounds: vec![0.5],
            ..Default::default()
        }],
        aggregation_temporality: delta,
    };
    let summary = Summary { data_points: vec![SummaryDataPoint::default()] };
    let sent = request(vec![
        metric("load", "1", Data::Gauge(gauge)),
        metric("orders", "{order}", Data::Sum(sum)),
        metric("took", "s", Data::Histogram(histogram)),
        metric("old", "", Data::Summary(summary)),
        Metric { name: "empty".into(), ..Default::default() },
    ]);
    let (status, body) = post(&receiver, &sent.encode_to_vec());
    assert_eq!(status, 200);
    assert_eq!(ExportMetricsServiceResponse::decode(&body[..]).unwrap(), Default::default());
    assert_eq!(receiver.received(), [sent]);

    let points = receiver.until("all are there", |points| points.len() == 5).await;
    let names: Vec<&str> = points.iter().map(|point| point.name.as_str()).collect();
    assert_eq!(names, ["load", "orders", "orders", "took", "old"]);
    assert!(points.iter().all(|point| point.resource["service.name"] == "shop" && point.scope == "scalekit"));
    let wanted = [("http.route", "/pay"), ("ratio", "0.5"), ("slow", "true"), ("status", "500")];
    assert!(points[0].attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(wanted));
    assert_eq!((points[0].start_time, points[0].time), (7, 9));
    assert_eq!(points[0].data, OtlpData::Gauge(0.25));
    let temporality = OtlpTemporality::Cumulative;
    assert_eq!(points[1].data, OtlpData::Sum { value: 3.0, monotonic: true, temporality });
    assert!(matches!(points[2].data, OtlpData::Sum { value, .. } if value.is_nan()));
    let temporality = OtlpTemporality::Delta;
    let (bounds, bucket_counts) = (vec![0.5], vec![1, 2]);
    let histogram = OtlpData::Histogram { count: 3, sum: 2.5, bounds, bucket_counts, temporality };
    assert_eq!((points[3].unit.as_str(), &points[3].data), ("s", &histogram));
    assert_eq!(points[4].data, OtlpData::Other);
}

#[tokio::test]
async fn what_is_no_export_is_refused_and_kept_out() {
    let receiver = OtlpReceiver::start().await;
    let good = request(vec![]).encode_to_vec();
    assert_eq!(post(&receiver, b"\xff\xff garbage").0, 400);
    assert_eq!(post(&receiver, &good[..good.len() - 1]).0, 400);
    let (addr, gzip) = (receiver.addr(), format!("{PROTOBUF}Content-Encoding: gzip\r\n"));
    for (start, headers, wanted) in [
        ("GET /v1/metrics", PROTOBUF, 405),
        ("POST /v1/traces", PROTOBUF, 404),
        ("POST /v1/metrics", "Content-Type: application/json\r\n", 415),
        ("POST /v1/metrics", "", 415),
        ("POST /v1/metrics", &gzip, 415),
    ] {
        assert_eq!(send(addr, start, headers, &good).unwrap().0, wanted, "{start} {headers:?}");
    }
    assert!(receiver.received().is_empty());
    assert_eq!(post(&receiver, &good).0, 200);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let receiver = OtlpReceiver::start().await;
    // The receiver answers without reading on; whether the client still sees the answer is a matter of timing.
    let answer = send(receiver.addr(), "POST /v1/metrics", PROTOBUF, &vec![0x0a; (20 << 20) + 1]);
    assert!(answer.is_err() || answer.is_ok_and(|(status, _)| status == 400));
    assert!(receiver.received().is_empty());
    assert_eq!(post(&receiver, &request(vec![]).encode_to_vec()).0, 200);
}

#[tokio::test]
async fn a_point_that_comes_later_wakes_the_one_who_waits() {
    let receiver = Arc::new(OtlpReceiver::start().await);
    let waiting = Arc::clone(&receiver);
    let (asked, seen) = tokio::sync::oneshot::channel();
    let mut asked = Some(asked);
    let waiting = tokio::spawn(async move {
        let found = waiting.until("there is one", |points| {
            let _ = asked.take().map(|asked| asked.send(points.len()));
            points.len() == 1
        });
        found.await
    });
    assert_eq!(seen.await.unwrap(), 0);
    let gauge = Gauge { data_points: vec![number(Some(Number::AsInt(4)), vec![])] };
    post(&receiver, &request(vec![metric("load", "1", Data::Gauge(gauge))]).encode_to_vec());
    assert_eq!(waiting.await.unwrap()[0].data, OtlpData::Gauge(4.0));
}

#[tokio::test]
async fn a_dropped_receiver_is_gone() {
    let receiver = OtlpReceiver::start().await;
    let addr = receiver.addr();
    let _idle = TcpStream::connect(addr).unwrap();
    drop(receiver);
    assert!(TcpStream::connect(addr).is_err());
}

/// Records, exports, records again and exports again; the points of each name in the order of export.
async fn exported_twice(temporality: Temporality) -> (Vec<OtlpPoint>, Vec<OtlpPoint>) {
    let receiver = OtlpReceiver::start().await;
    let exporter = MetricExporter::builder()
        .with_temporality(temporality)
        .with_http()
        .with_http_client(OtlpClient)
        .with_endpoint(receiver.url())
        .build()
        .unwrap();
    // Only the flushes below export.
    let reader = PeriodicReader::builder(exporter).with_interval(Duration::from_secs(3_600)).build();
    let resource = Resource::builder_empty().with_service_name("shop").build();
    let provider = SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
    let meter = provider.meter("scalekit");
    let took = meter.f64_histogram("took").with_unit("s").with_boundaries(vec![0.25, 1.0]).build();
    let served = Arc::new(AtomicU64::new(3));
    let counted = Arc::clone(&served);
    let _requests = meter
        .u64_observable_counter("requests")
        .with_unit("{request}")
        .with_callback(move |observer| {
            observer.observe(counted.load(Ordering::Relaxed), &[KeyValue::new("http.route", "/pay")]);
        })
        .build();

    took.record(0.25, &[KeyValue::new("tenant", "acme")]);
    provider.force_flush().unwrap();
    took.record(4.0, &[KeyValue::new("tenant", "acme")]);
    served.store(10, Ordering::Relaxed);
    provider.force_flush().unwrap();

    let points = receiver.until("both exports are there", |points| points.len() == 4).await;
    provider.shutdown().unwrap();
    assert!(points.iter().all(|point| point.scope == "scalekit" && point.resource["service.name"] == "shop"));
    points.into_iter().partition(|point| point.name == "took")
}

fn histogram(bucket_counts: [u64; 3], sum: f64, temporality: OtlpTemporality) -> OtlpData {
    let count = bucket_counts.iter().sum();
    let (bounds, bucket_counts) = (vec![0.25, 1.0], bucket_counts.to_vec());
    OtlpData::Histogram { count, sum, bounds, bucket_counts, temporality }
}

fn assert_named(points: &[OtlpPoint], name: &str, unit: &str, attribute: (&str, &str)) {
    for point in points {
        assert_eq!((point.name.as_str(), point.unit.as_str()), (name, unit));
        assert!(point.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq([attribute]));
    }
}

#[tokio::test]
async fn the_sdk_exports_cumulative_points() {
    let (took, requests) = exported_twice(Temporality::Cumulative).await;
    let temporality = OtlpTemporality::Cumulative;
    assert_named(&took, "took", "s", ("tenant", "acme"));
    assert_eq!(took[0].data, histogram([1, 0, 0], 0.25, temporality));
    assert_eq!(took[1].data, histogram([1, 0, 1], 4.25, temporality));
    assert_eq!(took[0].start_time, took[1].start_time);
    assert_named(&requests, "requests", "{request}", ("http.route", "/pay"));
    assert_eq!(requests[0].data, OtlpData::Sum { value: 3.0, monotonic: true, temporality });
    assert_eq!(requests[1].data, OtlpData::Sum { value: 10.0, monotonic: true, temporality });
}

#[tokio::test]
async fn the_sdk_exports_deltas() {
    let (took, requests) = exported_twice(Temporality::Delta).await;
    let temporality = OtlpTemporality::Delta;
    assert_named(&took, "took", "s", ("tenant", "acme"));
    assert_eq!(took[0].data, histogram([1, 0, 0], 0.25, temporality));
    assert_eq!(took[1].data, histogram([0, 0, 1], 4.0, temporality));
    assert!(took[0].time <= took[1].start_time);
    assert_named(&requests, "requests", "{request}", ("http.route", "/pay"));
    assert_eq!(requests[0].data, OtlpData::Sum { value: 3.0, monotonic: true, temporality });
    assert_eq!(requests[1].data, OtlpData::Sum { value: 7.0, monotonic: true, temporality });
}
