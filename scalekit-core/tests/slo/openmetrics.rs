//! OpenMetrics, as a real Prometheus asks for it and reads it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header::ACCEPT};
use axum::routing::{get, post};
use scalekit_core::Hop;
use scalekit_core::slo::CONTENT_TYPE;
use scalekit_testkit::Prometheus;

use crate::support::{checkout, layered, send};

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_asks_for_it_and_finds_every_kind_of_family() {
    let slo = scalekit_core::slo::Slo::new(checkout(Duration::from_millis(300)));
    slo.signals().start(Hop::Db, "acquire").end("ok");
    let app = layered(&slo, Router::new().route("/checkout", post(|| async {})));
    for _ in 0..3 {
        send(&app, "POST", "/checkout").await;
    }
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (scrape, seen) = (slo.clone(), sent.clone());
    let metrics = get(move |headers: HeaderMap| async move {
        let answer = scrape.scrape(&headers);
        seen.lock().unwrap().push(answer.headers()["content-type"].to_str().unwrap().to_owned());
        answer
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/metrics", metrics)).await });
    let prometheus =
        Prometheus::builder().scrape("shop", target).interval(Duration::from_millis(100)).start().await;
    for (query, wanted) in [
        ("scalekit_slo_good_total{slo=\"checkout\"}", 3.0),
        ("scalekit_http_outcomes_total{outcome=\"ok\",http_route=\"/checkout\"}", 3.0),
        ("http_server_active_requests{http_route=\"/checkout\"}", 0.0),
        (
            "http_server_request_duration_seconds_bucket{http_route=\"/checkout\",le=\"0.3\",http_response_status_code=\"200\"}",
            3.0,
        ),
        ("scalekit_hop_duration_seconds_count{operation=\"acquire\"}", 1.0),
    ] {
        prometheus.until(query, |found| matches!(found, [(_, value)] if *value == wanted)).await;
    }
    assert!(prometheus.scrape_errors().await.is_empty());
    let sent = sent.lock().unwrap();
    assert!(sent.iter().all(|sent| sent.starts_with("application/openmetrics-text")), "{sent:?}");
    drop(sent);

    for (accept, open) in [
        (None, false),
        (Some("text/plain;version=0.0.4"), false),
        (Some("text/html, Application/OpenMetrics-Text; version=1.0.0; q=0.5, */*"), true),
        (Some("application/openmetrics-text;q=0, text/plain"), false),
        (Some("application/openmetrics-textual"), false),
    ] {
        let headers = accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept))).into_iter().collect();
        let text = slo.scrape(&headers);
        assert_eq!(text.headers()["content-type"] != CONTENT_TYPE, open, "{accept:?}");
    }
}
