//! Time to the head and time to the end are two numbers, and a stream's life is a third that spoils neither.

use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body::Body as _;
use http_body_util::BodyExt;
use scalekit_core::slo::{Objective, ObjectiveSet, RouteRow, Shape, Slo};

use crate::mishaps::{Step, scripted};
use crate::parse::{Scrape, parse};
use crate::support::{checkout, layered, only_outcome, row, send};

const T: Duration = Duration::from_millis(300);
const HEAD: Duration = Duration::from_millis(100);
const LIFE: Duration = Duration::from_secs(60);

const REQUEST: &str = "http_server_request_duration_seconds";
const HEADS: &str = "scalekit_http_server_head_duration_seconds";
const STREAM: &str = "scalekit_http_server_stream_duration_seconds";

/// What a family says about a route: how many, and their seconds in all.
fn of(scrape: &Scrape, family: &str, route: &str) -> (u64, f64) {
    let route = [("http_route", route)];
    let count = scrape.sum(&format!("{family}_count"), &route);
    (count as u64, scrape.sum(&format!("{family}_sum"), &route))
}

/// A head after `HEAD`, and a body that lives for `LIFE` after that and then does `end`.
async fn slow(status: u16, kind: &'static str, end: Step) -> Response {
    tokio::time::sleep(HEAD).await;
    let body = scripted(vec![Step::Data(b"first"), Step::Wait(LIFE), end]);
    (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, kind)], body).into_response()
}

fn objective(shape: Option<Shape>, threshold: Duration) -> Slo {
    let feed = Objective::new("feed").route(Method::GET, "/feed").latency(threshold).target(0.99);
    let feed = feed.availability(0.999);
    let feed = shape.into_iter().fold(feed, Objective::shape);
    Slo::new(ObjectiveSet::builder("shop").objective(feed).build().unwrap())
}

fn counted(row: &RouteRow) -> (u64, u64, u64) {
    (row.good.unwrap(), row.available.unwrap(), row.total.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_response_is_judged_by_its_shape() {
    use Shape::{Streaming, Unary};
    let (end, sse, plain) = (Step::Trailers, "text/event-stream; charset=utf-8", "text/plain");
    // declared, content type, status, how the body ends; (good, available, total), is it a stream, outcome
    let rows = [
        (None, plain, 200, end.clone(), (0, 1, 1), false, "ok"),
        (None, sse, 200, end.clone(), (1, 1, 1), true, "ok"),
        (None, "application/grpc+proto", 200, end.clone(), (1, 1, 1), true, "ok"),
        (Some(Streaming), plain, 200, end.clone(), (1, 1, 1), true, "ok"),
        (Some(Unary), sse, 200, end.clone(), (0, 1, 1), false, "ok"),
        // The head of a stream was good; that it broke later is told by the outcome.
        (None, sse, 200, Step::Error, (1, 1, 1), true, "body_error"),
        (None, plain, 200, Step::Error, (0, 0, 1), false, "body_error"),
        (Some(Streaming), plain, 500, end.clone(), (0, 0, 1), true, "server_error"),
        (Some(Streaming), plain, 404, end, (0, 0, 0), true, "client_error"),
    ];
    for (shape, kind, status, end, expected, streams, outcome) in rows {
        let case = format!("{shape:?} {kind} {status} {end:?}");
        let slo = objective(shape, T);
        let app = layered(&slo, Router::new().route("/feed", get(move || slow(status, kind, end))));
        let mut body = send(&app, "GET", "/feed").await.into_body();
        body.frame().await.unwrap().unwrap();
        let during = row(&slo, "GET", "/feed");
        assert_eq!((during.in_flight, during.count), (1, 0), "{case}");
        let at_head = if streams { expected } else { (0, 0, 0) };
        assert_eq!(counted(&during), at_head, "{case}: a stream counts at its head, all else at its end");
        while let Some(Ok(_)) = body.frame().await {}

        let row = row(&slo, "GET", "/feed");
        assert_eq!((counted(&row), only_outcome(&row), row.in_flight), (expected, (outcome, 1), 0), "{case}");
        let scrape = parse(&slo.render());
        let near =
            |got: (u64, f64), expected: Duration| got.0 == 1 && (got.1 - expected.as_secs_f64()).abs() < 0.01;
        assert!(near(of(&scrape, HEADS, "/feed"), HEAD), "{case}");
        let (long, none) = if streams { (STREAM, REQUEST) } else { (REQUEST, STREAM) };
        assert!(near(of(&scrape, long, "/feed"), HEAD + LIFE), "{case}");
        assert_eq!(of(&scrape, none, "/feed").0, 0, "{case}");
        let judged = if streams { HEAD } else { HEAD + LIFE }.as_secs_f64();
        assert!((row.p95.unwrap() / judged - 1.0).abs() < 0.02, "{case}: {:?}", row.p95);
    }
}

/// A client that closes an event stream has had what it wanted; one that never got a head waited too long.
#[tokio::test(start_paused = true)]
async fn a_stream_that_is_dropped_was_judged_by_its_head() {
    for (threshold, expected) in [(T, (1, 1, 1)), (HEAD / 2, (0, 1, 1))] {
        let slo = objective(None, threshold);
        let app = layered(
            &slo,
            Router::new().route("/feed", get(|| slow(200, "text/event-stream", Step::Trailers))),
        );
        drop(send(&app, "GET", "/feed").await);
        let row = row(&slo, "GET", "/feed");
        assert_eq!((counted(&row), only_outcome(&row)), (expected, ("cancelled_body", 1)));
    }
    let slo = objective(Some(Shape::Streaming), HEAD / 2);
    let app = layered(&slo, Router::new().route("/feed", get(|| slow(200, "text/plain", Step::Trailers))));
    assert!(tokio::time::timeout(HEAD * 3 / 4, send(&app, "GET", "/feed")).await.is_err());
    let row = row(&slo, "GET", "/feed");
    assert_eq!((counted(&row), only_outcome(&row)), ((0, 1, 1), ("cancelled_head", 1)));
    let scrape = parse(&slo.render());
    assert_eq!([REQUEST, HEADS, STREAM].map(|family| of(&scrape, family, "/feed").0), [0, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_over_with_its_head() {
    let slo = objective(None, T);
    let app = layered(
        &slo,
        Router::new().route("/feed", get(|| async { StatusCode::SWITCHING_PROTOCOLS.into_response() })),
    );
    send(&app, "GET", "/feed").await;
    let row = row(&slo, "GET", "/feed");
    assert_eq!((counted(&row), only_outcome(&row), row.in_flight), ((1, 1, 1), ("ok", 1), 0));
    let scrape = parse(&slo.render());
    assert_eq!([REQUEST, HEADS, STREAM].map(|family| of(&scrape, family, "/feed").0), [0, 1, 1]);
}

/// Trailers are the last that a body says: nobody has to ask for more.
#[tokio::test]
async fn trailers_end_a_body() {
    let slo = Slo::new(checkout(T));
    let script = || async { scripted(vec![Step::Data(b"x"), Step::Trailers, Step::Error]) };
    let app = layered(&slo, Router::new().route("/checkout", post(script)));
    let mut body = send(&app, "POST", "/checkout").await.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(row(&slo, "POST", "/checkout").in_flight, 1);
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(only_outcome(&row(&slo, "POST", "/checkout")), ("ok", 1));
}

/// An announced length stays one: exact hint and `Content-Length`; an unknown one stays unknown.
#[tokio::test]
async fn the_size_hint_passes_through() {
    let slo = Slo::new(checkout(T));
    let app = layered(
        &slo,
        Router::new()
            .route("/full", get(|| async { "hello" }))
            .route(
                "/events",
                get(|| async { ([(header::CONTENT_TYPE, "text/event-stream")], "data: 1\n\n") }),
            )
            .route("/unknown", get(|| async { scripted(vec![Step::Data(b"x")]) })),
    );
    for (path, length) in [("/full", Some(5)), ("/events", Some(9)), ("/unknown", None)] {
        let response = send(&app, "GET", path).await;
        let announced = response.headers().get(header::CONTENT_LENGTH).map(|value| value.to_str().unwrap());
        assert_eq!(announced, length.map(|n: u64| n.to_string()).as_deref(), "{path}");
        assert_eq!(response.body().size_hint().exact(), length, "{path}");
        response.into_body().collect().await.unwrap();
    }
    let scrape = parse(&slo.render());
    assert_eq!((of(&scrape, REQUEST, "/full").0, of(&scrape, STREAM, "/events").0), (1, 1));
}
