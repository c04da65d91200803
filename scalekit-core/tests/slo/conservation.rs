//! Every request that enters ends in exactly one outcome, wherever it is dropped and however it breaks.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body::Body as _;
use scalekit_core::http::{Problem, Shed};
use scalekit_core::slo::{Objective, ObjectiveSet, Outcome, Slo};
use scalekit_testkit::{evidence, full};
use tower::ServiceExt;

use crate::parse::parse;
use crate::support::{Random, Step, checkout, layered, only_outcome, request, row, scripted, send};

/// As many as it takes to make each outcome many times.
fn requests() -> u64 {
    if full() { 100_000 } else { 4_000 }
}

#[test]
fn outcomes_sum_up_to_the_requests_started() {
    let mut random = Random::seeded("conservation");
    let hour = Duration::from_secs(3_600);
    let plan =
        |name: &str| Objective::new(name).route(Method::GET, "/plan/{steps}").latency(hour).target(0.9);
    let set = ObjectiveSet::builder("shop").objective(plan("plan"));
    let set = set.objective(plan("journey").until("done"));
    let slo = Slo::new(set.build().unwrap());
    let app = layered(
        &slo,
        Router::new().route("/checkout", post(|| misbehave(0))).route(
            "/plan/{steps}",
            get(|axum::extract::Path(plan): axum::extract::Path<u64>| misbehave(plan)),
        ),
    );
    let (mut dropped, mut heads, mut streams, requests) = (0, 0, 0, requests());
    let (mut good, mut failed) = (0, 0);
    let mut expected = [0_u64; Outcome::ALL.len()];
    for _ in 0..requests {
        let path = match random.below(10) {
            0 => "/checkout".to_owned(),
            1 => format!("/nowhere/{}", random.below(1_000)),
            _ => format!("/plan/{}", random.below(4_096)),
        };
        let method = if path == "/checkout" {
            "POST"
        } else {
            ["GET", "GET", "GET", "BREW"][random.below(4) as usize]
        };
        let polls = if random.below(10) < 3 { random.below(12) } else { u64::MAX };
        let End { head, stream, outcome } = drive(&app, method, &path, polls);
        heads += u64::from(head.is_some());
        streams += u64::from(stream);
        dropped += u64::from(matches!(outcome, Outcome::CancelledHead | Outcome::CancelledBody));
        expected[Outcome::ALL.iter().position(|o| *o == outcome).unwrap()] += 1;
        if method == "GET" && path.starts_with("/plan/") {
            let judged = head.filter(|_| stream).unwrap_or(outcome);
            good += u64::from(judged == Outcome::Ok);
            let broken = [Outcome::ServerError, Outcome::BodyError, Outcome::Panicked].contains(&judged);
            failed += u64::from(broken);
        }
    }
    assert!(dropped > requests / 20, "only {dropped} were dropped");

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
    let mut random = Random::seeded("aborts");
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

/// Polls a request by hand and drops it after `polls` polls; says how it ended, seen from outside.
fn drive(app: &Router, method: &str, path: &str, polls: u64) -> End {
    let mut left = polls;
    let mut cx = Context::from_waker(Waker::noop());
    // The router itself is no part of a request: the layer counts from the first poll on, which calls it.
    let mut head = Box::pin(app.clone().oneshot(request(method, path)));
    left = left.max(1);
    let response = loop {
        if left == 0 {
            return End { head: None, stream: false, outcome: Outcome::CancelledHead };
        }
        left -= 1;
        match catch_unwind(AssertUnwindSafe(|| head.as_mut().poll(&mut cx))) {
            Err(_) => return End { head: None, stream: false, outcome: Outcome::Panicked },
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(response)) => break response.unwrap(),
        }
    };
    let by_status = match response.status().as_u16() {
        400.. if response.extensions().get::<Shed>().is_some() => Some(Outcome::Shed),
        500.. => Some(Outcome::ServerError),
        400.. => Some(Outcome::ClientError),
        _ => None,
    };
    let stream = response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let mut body = response.into_body();
    let outcome = loop {
        if body.is_end_stream() {
            break by_status.unwrap_or(Outcome::Ok);
        }
        if left == 0 {
            break by_status.unwrap_or(Outcome::CancelledBody);
        }
        left -= 1;
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut body).poll_frame(&mut cx))) {
            Err(_) => break Outcome::Panicked,
            Ok(Poll::Ready(None)) => break by_status.unwrap_or(Outcome::Ok),
            Ok(Poll::Ready(Some(Err(_)))) => {
                break match by_status {
                    Some(told @ (Outcome::ServerError | Outcome::Shed)) => told,
                    _ => Outcome::BodyError,
                };
            }
            Ok(_) => {}
        }
    };
    End { head: Some(by_status.unwrap_or(Outcome::Ok)), stream, outcome }
}

/// How a request ended.
struct End {
    /// What its head told, if there was one.
    head: Option<Outcome>,
    stream: bool,
    outcome: Outcome,
}

/// A handler whose every turn is chosen by bits of the plan.
async fn misbehave(plan: u64) -> Response {
    for _ in 0..plan & 3 {
        yield_once().await;
    }
    assert!((plan >> 2) & 7 != 1, "the handler panicked on purpose");
    let status = match (plan >> 5) & 7 {
        1 => StatusCode::INTERNAL_SERVER_ERROR,
        2 => StatusCode::CONFLICT,
        3 => return Problem::overloaded(Duration::from_secs(1)).into_response(),
        _ => StatusCode::OK,
    };
    let mut steps = Vec::new();
    for step in 0..(plan >> 8) & 3 {
        steps.push(Step::Yield);
        steps.push(Step::Data(b"chunk"));
        if step == 1 && (plan >> 10) & 3 == 1 {
            steps.push(Step::Error);
        }
        if step == 1 && (plan >> 10) & 3 == 2 {
            steps.push(Step::Panic);
        }
    }
    let kind = if (plan >> 5) & 7 == 7 { "text/event-stream" } else { "text/plain" };
    (status, [("content-type", kind)], scripted(steps)).into_response()
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
