//! Every request that enters ends in exactly one outcome, wherever it is dropped and however it breaks.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use axum::response::Response;
use axum::routing::post;
use scalekit_core::slo::{Objective, ObjectiveSet, Outcome, Slo};
use scalekit_testkit::{Rng, evidence, full, seed};
use tower::ServiceExt;

use crate::mishaps::{End, Mishap, misbehave, routes};
use crate::parse::parse;
use crate::support::{checkout, layered, only_outcome, request, row, send};

/// As many as it takes to make each outcome many times.
fn requests() -> u64 {
    if full() { 100_000 } else { 4_000 }
}

#[test]
fn outcomes_sum_up_to_the_requests_started() {
    let mut random = Rng::new(seed());
    let hour = Duration::from_secs(3_600);
    let plan =
        |name: &str| Objective::new(name).route(Method::GET, "/plan/{steps}").latency(hour).target(0.9);
    let set = ObjectiveSet::builder("shop").objective(plan("plan"));
    let set = set.objective(plan("journey").until("done"));
    let slo = Slo::new(set.build().unwrap());
    let app = layered(&slo, routes());
    let (mut dropped, mut heads, mut streams, requests) = (0, 0, 0, requests());
    let (mut good, mut failed) = (0, 0);
    let mut expected = [0_u64; Outcome::ALL.len()];
    for _ in 0..requests {
        let request = Mishap::random(&mut random);
        let End { head, stream, outcome } = request.drive(&app);
        heads += u64::from(head.is_some());
        streams += u64::from(stream);
        dropped += u64::from(matches!(outcome, Outcome::CancelledHead | Outcome::CancelledBody));
        expected[Outcome::ALL.iter().position(|o| *o == outcome).unwrap()] += 1;
        if request.method == "GET" && request.path.starts_with("/plan/") {
            let judged = head.filter(|_| stream).unwrap_or(outcome);
            good += u64::from(judged == Outcome::Ok);
            let broken = [Outcome::ServerError, Outcome::BodyError, Outcome::Panicked].contains(&judged);
            failed += u64::from(broken);
        }
    }
    assert!(dropped > requests * 3 / 10, "only {dropped} were dropped");

    let scrape = parse(&slo.render());
    for (outcome, expected) in Outcome::ALL.into_iter().zip(expected) {
        assert!(expected > 0, "the attack never made a {outcome:?}");
        let counted = scrape.sum("scalekit_http_outcomes_total", &[("outcome", outcome.as_str())]);
        assert_eq!(counted as u64, expected, "{outcome:?}");
    }
    assert_eq!(scrape.sum("scalekit_http_outcomes_total", &[]) as u64, requests);
    let count = |family: &str| scrape.sum(&format!("{family}_count"), &[]) as u64;
    assert!(streams > requests / 100, "only {streams} were streams");
    assert_eq!(count("scalekit_http_server_stream_duration_seconds"), streams);
    assert_eq!(count("http_server_request_duration_seconds"), requests - streams);
    assert_eq!(count("scalekit_http_server_head_duration_seconds"), heads);
    assert_eq!(scrape.sum("http_server_active_requests", &[]), 0.0);
    assert_eq!(slo.snapshot().iter().map(|row| row.count).sum::<u64>(), requests);
    assert!(slo.snapshot().iter().all(|row| row.in_flight == 0));
    for row in slo.objective_rows() {
        let good = if row.until.is_some() { 0 } else { good };
        assert_eq!((row.good, row.available, row.total), (good, good, good + failed), "{}", row.objective);
        let zones = scrape.sum("scalekit_slo_apdex_total", &[("slo", &row.objective)]);
        assert_eq!(zones as u64, row.total);
    }
    let how = format!("{requests} requests");
    evidence(
        "requests dropped at random polls, panics, broken bodies",
        &how,
        "each in one outcome, none in flight",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_holds_when_tasks_are_aborted_on_several_threads() {
    let mut random = Rng::new(seed());
    let slo = Slo::new(checkout(Duration::from_millis(300)));
    let app = layered(&slo, Router::new().route("/checkout", post(|| misbehave(0x303))));
    let mut tasks = Vec::new();
    for _ in 0..1_000 {
        let app = app.clone();
        let task = tokio::spawn(async move {
            let response = send(&app, "POST", "/checkout").await;
            axum::body::to_bytes(response.into_body(), usize::MAX).await
        });
        if random.below(3) == 0 {
            tokio::task::yield_now().await;
            task.abort();
        }
        tasks.push(task);
        // Every scrape in the middle of it holds what it promises.
        if random.below(50) == 0 {
            let row = row(&slo, "POST", "/checkout");
            assert!(row.good <= row.available && row.available <= row.total, "{row:?}");
        }
    }
    let mut started = 0;
    for task in tasks {
        // An aborted task may never have called the service: what was started is what the layer has seen end.
        started += u64::from(task.await.is_ok());
    }
    let row = row(&slo, "POST", "/checkout");
    let cancelled = row.outcomes["cancelled_head"] + row.outcomes["cancelled_body"];
    assert_eq!(row.outcomes["ok"], started);
    assert_eq!(row.count, started + cancelled);
    assert_eq!(row.in_flight, 0);
}

#[tokio::test]
async fn a_request_counts_from_its_call_even_if_it_is_never_polled() {
    use tower::Service;
    let slo = Slo::new(checkout(Duration::from_millis(300)));
    let mut app = layered(&slo, Router::new().route("/checkout", post(|| async {}))).into_service::<Body>();
    app.ready().await.unwrap();
    let mut layer_only = tower::Layer::layer(
        &slo.layer(|_| Some("/direct")),
        tower::service_fn(|_| async { Ok::<_, std::io::Error>(Response::new(Body::empty())) }),
    );
    let future = layer_only.call(request("GET", "/"));
    assert_eq!(row(&slo, "GET", "/direct").in_flight, 1);
    drop(future);
    let row = row(&slo, "GET", "/direct");
    assert_eq!((row.in_flight, only_outcome(&row)), (0, ("cancelled_head", 1)));
}

#[tokio::test]
async fn an_inner_error_is_a_server_error_without_a_status() {
    let slo = Slo::new(checkout(Duration::from_millis(300)));
    let failing = tower::service_fn(|_| async { Err::<Response, _>(std::io::Error::other("gone")) });
    let service = tower::Layer::layer(&slo.layer(|_| Some("/direct")), failing);
    let error = service.oneshot(request("GET", "/")).await.unwrap_err();
    assert_eq!(error.to_string(), "gone");
    assert_eq!(only_outcome(&row(&slo, "GET", "/direct")), ("server_error", 1));
    let labels = [("http_request_method", "GET"), ("http_route", "/direct")];
    let scrape = parse(&slo.render());
    assert_eq!(scrape.value("http_server_request_duration_seconds_count", &labels), 1.0);
}
