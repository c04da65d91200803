//! Answers that no execution of this request has made.

use std::time::Duration;

use axum_core::response::IntoResponse;
use http::StatusCode;
use scalekit_core::http::{Problem, Response};

use crate::state::Record;

pub(crate) fn replay(record: &Record) -> Response {
    let mut response = record.response.replay();
    response.extensions_mut().insert(record.position);
    response
}

pub(crate) fn mismatch() -> Response {
    let title = "This Idempotency-Key was used with a different request";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", title).into_response()
}

pub(crate) fn in_flight() -> Response {
    let title = "The first request with this Idempotency-Key still runs";
    let problem = Problem::new(StatusCode::CONFLICT, "in-flight", title);
    problem.with_retry_after(Duration::from_secs(1)).into_response()
}

pub(crate) fn internal() -> Response {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error").into_response()
}
