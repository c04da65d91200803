//! A threshold is compared exactly, in whole nanoseconds, inclusively; counters, bucket and oracle never differ.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use http_body_util::BodyExt;
use scalekit_core::slo::Slo;

use crate::mishaps::{Step, scripted};
use crate::parse::parse;
use crate::support::{checkout, decimal, layered, only_outcome, row, send, take};

#[tokio::test(start_paused = true)]
async fn every_whole_millisecond_is_an_exact_boundary() {
    for ms in 1..=10_000_u64 {
        let threshold = ms * 1_000_000;
        let slo = Slo::new(checkout(Duration::from_millis(ms)));
        let durations = [threshold - 1, threshold, threshold + 1, threshold * 4, threshold * 4 + 1];
        for nanos in durations {
            take(&slo, Duration::from_nanos(nanos)).await;
        }
        let oracle = durations.iter().filter(|nanos| **nanos <= threshold).count() as u64;
        let row = row(&slo, "POST", "/checkout");
        assert_eq!((row.good, row.total), (Some(oracle), Some(5)), "{ms} ms");

        // Every tenth text, all digits of it: the bucket of T and of 4T says what the oracle says.
        if ms % 10 == 0 || ms < 10 {
            let scrape = parse(&slo.render());
            for bound in [threshold, threshold * 4] {
                let le = decimal(bound);
                let labels = [
                    ("http_request_method", "POST"),
                    ("http_route", "/checkout"),
                    ("http_response_status_code", "200"),
                    ("le", &le),
                ];
                let below = durations.iter().filter(|nanos| **nanos <= bound).count();
                let bucket = scrape.value("http_server_request_duration_seconds_bucket", &labels);
                assert_eq!(bucket, below as f64, "le={le}");
            }
        }
    }
}

/// Who gives up after the threshold waited too long, before it is nobody's fault; 4xx do not count, 5xx always do.
#[tokio::test(start_paused = true)]
async fn an_objective_counts_what_is_documented() {
    const T: Duration = Duration::from_millis(100);
    const AFTER: Duration = Duration::from_nanos(100_000_001);
    // (status, or none if dropped before the head; when it ends; whether its body is dropped then),
    // (good, available, total), outcome
    let rows = [
        ((Some(200), T, false), (1, 1, 1), "ok"),
        ((Some(200), AFTER, false), (0, 1, 1), "ok"),
        ((Some(404), AFTER, false), (0, 0, 0), "client_error"),
        ((Some(404), AFTER, true), (0, 0, 0), "client_error"),
        ((Some(500), T, false), (0, 0, 1), "server_error"),
        ((Some(503), T, true), (0, 0, 1), "server_error"),
        ((None, T, true), (0, 0, 0), "cancelled_head"),
        ((None, AFTER, true), (0, 1, 1), "cancelled_head"),
        ((Some(200), T, true), (0, 0, 0), "cancelled_body"),
        ((Some(200), AFTER, true), (0, 1, 1), "cancelled_body"),
    ];
    for (case @ (status, end, dropped), expected, outcome) in rows {
        let slo = Slo::new(checkout(T));
        let handler = move || async move {
            match status {
                Some(status) => {
                    tokio::time::advance(end / 2).await;
                    let status = StatusCode::from_u16(status).unwrap();
                    (status, scripted(vec![Step::Data(b"x")])).into_response()
                }
                None => {
                    tokio::time::advance(end).await;
                    std::future::pending().await
                }
            }
        };
        let app = layered(&slo, Router::new().route("/checkout", post(handler)));
        let mut response = Box::pin(send(&app, "POST", "/checkout"));
        if status.is_some() {
            let mut body = response.await.into_body();
            body.frame().await.unwrap().unwrap();
            tokio::time::advance(end - end / 2).await;
            if !dropped {
                assert!(body.frame().await.is_none());
            }
        } else {
            // The first poll reaches the handler and moves the clock; the second waits for ever.
            for _ in 0..2 {
                assert!(response.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            drop(response);
        }
        let row = row(&slo, "POST", "/checkout");
        let counted = (row.good.unwrap(), row.available.unwrap(), row.total.unwrap());
        assert_eq!((counted, only_outcome(&row).0), (expected, outcome), "{case:?}");
    }
}
