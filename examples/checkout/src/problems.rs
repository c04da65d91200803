//! Refusals of the shop: RFC 9457 problems, also where axum would answer in plain text.

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequest, rejection::JsonRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use scalekit::{
    Error,
    http::{Problem, Request},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// An unknown path.
pub(crate) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is nothing at this path")
}

/// An order that does not exist, or is somebody else's.
pub(crate) fn no_such_order() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such order")
}

/// An event that waits nowhere: never parked, or on its way again.
pub(crate) fn not_parked() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", "No such event is parked")
}

/// A value that is understood and not accepted.
pub(crate) fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request cannot be processed")
        .with_detail(detail)
}

/// The process starts or drains, or no pod of it runs.
pub(crate) fn not_serving(why: &'static str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-serving", why).with_retry_after(Duration::from_secs(1))
}

/// The pod that had the request was killed: nobody knows how far it got.
pub(crate) fn pod_killed() -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "pod-killed", "The pod that had this request was killed")
        .with_detail("It may have been carried out; repeat it with the same Idempotency-Key")
}

/// The whole of a body has this long to arrive; a pause between its bytes is no excuse. Where a key is asked for, the
/// idempotency layer has read the body before, within a time of its own.
const BODY_WITHIN: Duration = Duration::from_secs(15);

fn body_late() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The request's body did not arrive in time")
}

/// [`axum::Json`], whose refusals are problems.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match timeout(BODY_WITHIN, Json::from_request(request, state)).await {
            Ok(Ok(Json(value))) => Ok(Self(value)),
            Ok(Err(rejection)) => Err(rejected(&rejection)),
            Err(_) => Err(body_late()),
        }
    }
}

fn rejected(rejection: &JsonRejection) -> Problem {
    let status = rejection.status();
    let (name, title) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The request is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported-media-type", "Send application/json"),
        StatusCode::UNPROCESSABLE_ENTITY => ("invalid", "The JSON does not have the fields of this request"),
        _ => ("malformed", "The body is not JSON"),
    };
    Problem::new(status, name, title).with_detail(rejection.body_text())
}

/// Turns what axum answered by itself, in plain text, into a problem of the same status.
pub(crate) async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let typed = response.headers().get(header::CONTENT_TYPE);
    let plain = typed.is_none_or(|value| value.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !plain {
        return response;
    }
    let name = status.canonical_reason().unwrap_or("refused").to_ascii_lowercase().replace(' ', "-");
    let problem = Problem::new(status, name, status.canonical_reason().unwrap_or("Refused"));
    let mut answer = problem.into_response();
    for (name, value) in response.headers() {
        if *name != header::CONTENT_TYPE && *name != header::CONTENT_LENGTH {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
}

/// Why a handler refuses: a problem of the shop's own, or a failure below it.
#[derive(Debug)]
pub(crate) enum Refusal {
    Problem(Problem),
    Failed(Error),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::Failed(error) => error.into_response(),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}
