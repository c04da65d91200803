//! Refusals as RFC 9457 problem documents.

use std::{borrow::Cow, time::Duration};

use axum_core::{body::Body, response::IntoResponse};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::Response;
use crate::{Error, ErrorKind};

/// What every problem type of the family starts with.
const TYPES: &str = "https://docs.rs/scalekit/problems/";

/// A refusal: `application/problem+json` with a stable type and, where waiting helps, `Retry-After`.
///
/// What the client sees stands here; what the log gets is the [`Error`]'s own text and cause.
///
/// ```
/// use http::StatusCode;
/// use scalekit_core::http::Problem;
/// use std::time::Duration;
///
/// let problem = Problem::new(StatusCode::CONFLICT, "in-flight", "The first request still runs")
///     .with_retry_after(Duration::from_millis(1_200));
/// let response = axum_core::response::IntoResponse::into_response(problem);
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// assert_eq!(response.headers()["retry-after"], "2"); // whole seconds, rounded up
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Problem {
    status: StatusCode,
    name: Cow<'static, str>,
    title: Cow<'static, str>,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<Duration>,
    shed: bool,
}

/// The mark of a response that refuses a request because of overload; it stands in the response's extensions.
///
/// [`Problem::overloaded`] sets it; a limiter of your own inserts it. The SLO layer counts a marked refusal as `shed`,
/// which spends no error budget by default. A store that is down, a connection that did not become free in time and
/// a deploy are no overload that was refused: those are failures, and stay such.
///
/// ```
/// use http::StatusCode;
/// use scalekit_core::http::{Response, Shed};
///
/// let mut refusal = Response::new("come back later".into());
/// *refusal.status_mut() = StatusCode::TOO_MANY_REQUESTS;
/// refusal.extensions_mut().insert(Shed);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed;

impl Problem {
    /// A problem of the type `name` (kebab case; the last segment of the type's URI).
    pub fn new(
        status: StatusCode,
        name: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, name: name.into(), title: title.into(), detail: None, retry_after: None, shed: false }
    }

    /// The refusal of a request that was not begun, because there are too many of them: 503, marked as [`Shed`].
    ///
    /// ```
    /// use scalekit_core::http::{Problem, Shed};
    /// use std::time::Duration;
    ///
    /// let refusal = Problem::overloaded(Duration::from_secs(2));
    /// let response = axum_core::response::IntoResponse::into_response(refusal);
    /// assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"2".parse().unwrap()));
    /// assert!(response.extensions().get::<Shed>().is_some());
    /// ```
    pub fn overloaded(retry_after: Duration) -> Self {
        let title = "There are too many requests to begin this one";
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", title);
        Self { shed: true, ..refusal.with_retry_after(retry_after) }
    }

    /// What is wrong with this very request.
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// When to try again; sent as whole seconds, at least one.
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The status it is sent with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The URI that identifies the type.
    pub fn type_uri(&self) -> String {
        format!("{TYPES}{}", self.name)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = Map::new();
        document.insert("type".into(), Value::from(self.type_uri()));
        document.insert("title".into(), Value::from(self.title.as_ref()));
        document.insert("status".into(), Value::from(self.status.as_u16()));
        if let Some(detail) = &self.detail {
            document.insert("detail".into(), Value::from(detail.as_ref()));
        }
        let mut response = Response::new(Body::from(Value::Object(document).to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            let whole = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole.max(1)));
        }
        if self.shed {
            response.extensions_mut().insert(Shed);
        }
        response
    }
}

impl From<&Error> for Problem {
    /// The answer for a system failure; it tells the kind and nothing of the cause.
    fn from(error: &Error) -> Self {
        let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
        match error.kind() {
            ErrorKind::Invalid => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request cannot be processed")
                    .with_detail(error.to_string())
            }
            ErrorKind::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large")
            }
            ErrorKind::Unavailable => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "A store cannot be reached now")
                    .with_retry_after(wait)
            }
            ErrorKind::OutcomeUnknown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "outcome-unknown",
                "It is not known whether the request took effect; repeat it with the same key",
            )
            .with_retry_after(wait),
            ErrorKind::Conflict => {
                Self::new(StatusCode::CONFLICT, "conflict", "A concurrent change won").with_retry_after(wait)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }
}

impl IntoResponse for Error {
    /// Logs the failure with its causes and answers with its [`Problem`].
    fn into_response(self) -> Response {
        let problem = Problem::from(&self);
        if problem.status().is_server_error() {
            tracing::error!(kind = ?self.kind(), causes = %causes(&self), "{self}");
        }
        problem.into_response()
    }
}

fn causes(error: &Error) -> String {
    let mut text = String::new();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
