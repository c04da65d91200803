//! Answers that no execution of this request has made.

use std::time::Duration;

use axum_core::response::IntoResponse;
use http::{HeaderValue, StatusCode};
use scalekit_core::http::{Problem, Response};

use crate::{state::Record, stored::REPLAYED};

pub(crate) fn replay(record: &Record) -> Response {
    let mut response = record.response.replay();
    response.extensions_mut().insert(record.position);
    response
}

pub(crate) fn mismatch() -> Response {
    let title = "This Idempotency-Key was used with a different request";
    replayed(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", title))
}

pub(crate) fn in_flight() -> Response {
    let title = "The first request with this Idempotency-Key still runs";
    let problem = Problem::new(StatusCode::CONFLICT, "in-flight", title);
    replayed(problem.with_retry_after(Duration::from_secs(1)))
}

/// Every answer but an execution's own says so: what it tells may have been told before.
fn replayed(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

pub(crate) fn internal() -> Response {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error").into_response()
}
