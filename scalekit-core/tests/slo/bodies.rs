//! A response is measured to the end of its body, and its body stays what it was.

use std::future::pending;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http_body_util::BodyExt;
use scalekit_core::slo::Slo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::mishaps::{Step, scripted};
use crate::parse::parse;
use crate::support::{checkout, layered, only_outcome, row, send};

const T: Duration = Duration::from_millis(300);

#[tokio::test(start_paused = true)]
async fn a_streamed_body_is_measured_to_its_end() {
    let slo = Slo::new(checkout(T));
    let wait = Step::Wait(Duration::from_millis(50));
    let steps = vec![wait.clone(), Step::Data(b"a"), wait.clone(), Step::Data(b"b"), wait, Step::Trailers];
    let app = layered(&slo, Router::new().route("/checkout", post(move || async { scripted(steps) })));

    let response = send(&app, "POST", "/checkout").await;
    assert_eq!(row(&slo, "POST", "/checkout").in_flight, 1, "it was over with its head");
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-checksum"], "7");
    assert_eq!(body.to_bytes(), "ab");

    let row = row(&slo, "POST", "/checkout");
    assert_eq!((row.in_flight, only_outcome(&row)), (0, ("ok", 1)));
    let labels =
        [("http_request_method", "POST"), ("http_route", "/checkout"), ("http_response_status_code", "200")];
    let sum = parse(&slo.render()).value("http_server_request_duration_seconds_sum", &labels);
    assert!((0.150..0.160).contains(&sum), "three waits of 50 ms took {sum} s");
    let p95 = row.p95.unwrap();
    assert!((p95 / sum - 1.0).abs() <= 1.0 / 64.0, "{p95} is not {sum}");
}

#[tokio::test]
async fn a_complete_response_is_ok_although_its_body_is_never_asked_for_its_end() {
    let slo = Slo::new(checkout(T));
    let sized =
        || async { ([(header::CONTENT_LENGTH, "2")], scripted(vec![Step::Data(b"a"), Step::Data(b"b")])) };
    let app = layered(
        &slo,
        Router::new()
            .route("/empty", get(|| async {}))
            .route("/none", get(|| async { (StatusCode::NO_CONTENT, scripted(vec![Step::Data(b"x")])) }))
            .route("/full", get(|| async { "hello" }))
            .route("/sized", get(sized)),
    );
    for (method, path, frames) in [
        ("GET", "/empty", 0),
        ("GET", "/none", 0),
        ("GET", "/full", 1),
        ("HEAD", "/full", 0),
        ("GET", "/sized", 2),
    ] {
        let mut body = send(&app, method, path).await.into_body();
        for _ in 0..frames {
            body.frame().await.unwrap().unwrap();
        }
        drop(body);
        assert_eq!(only_outcome(&row(&slo, method, path)), ("ok", 1), "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_is_a_body_error() {
    let slo = Slo::new(checkout(T));
    let short = || async { ([(header::CONTENT_LENGTH, "9")], scripted(vec![Step::Data(b"cut")])) };
    let late = || async { (StatusCode::BAD_GATEWAY, scripted(vec![Step::Data(b"x"), Step::Error])) };
    let app = layered(
        &slo,
        Router::new()
            .route("/error", get(|| async { scripted(vec![Step::Data(b"x"), Step::Error]) }))
            .route("/short", get(short))
            .route("/late", get(late)),
    );
    assert!(send(&app, "GET", "/error").await.into_body().collect().await.is_err());
    assert_eq!(only_outcome(&row(&slo, "GET", "/error")), ("body_error", 1));
    send(&app, "GET", "/short").await.into_body().collect().await.unwrap();
    assert_eq!(only_outcome(&row(&slo, "GET", "/short")), ("body_error", 1));
    assert!(send(&app, "GET", "/late").await.into_body().collect().await.is_err());
    assert_eq!(only_outcome(&row(&slo, "GET", "/late")), ("server_error", 1));
}

#[tokio::test]
async fn over_a_real_connection_a_response_is_ok_and_a_hangup_is_cancelled() {
    let slo = Slo::new(checkout(T));
    let (entered, mut stuck) = tokio::sync::mpsc::unbounded_channel::<DropSignal>();
    let hang = move || {
        let (gone, signal) = tokio::sync::oneshot::channel::<()>();
        entered.send(DropSignal(signal)).unwrap();
        async move {
            let _gone = gone;
            pending::<Response<Body>>().await
        }
    };
    let app = layered(
        &slo,
        Router::new()
            .route("/full", get(|| async { "hello".into_response() }))
            .route("/chunked", get(|| async { scripted(vec![Step::Yield, Step::Data(b"x"), Step::Yield]) }))
            .route("/hang", get(hang)),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, app).into_future());

    for (method, path) in [("GET", "/full"), ("HEAD", "/full"), ("GET", "/chunked")] {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        assert_eq!(only_outcome(&row(&slo, method, path)), ("ok", 1), "{method} {path}");
    }

    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let DropSignal(dropped) = stuck.recv().await.unwrap();
    assert_eq!(row(&slo, "GET", "/hang").in_flight, 1);
    drop(client);
    assert!(dropped.await.is_err(), "the handler went on");
    // The handler's own locals go before the guard around them: wait for that, too.
    let gone = async {
        while row(&slo, "GET", "/hang").in_flight > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the gauge kept a request that is gone");
    assert_eq!(only_outcome(&row(&slo, "GET", "/hang")), ("cancelled_head", 1));
    server.abort();
}

/// Resolves when the handler that holds the other half is dropped.
struct DropSignal(tokio::sync::oneshot::Receiver<()>);
