//! Requests that go wrong in every way there is, driven by hand, so that what became of each is known from outside.
//!
//! Whoever measures requests can be held against it.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{BoxError, Router};
use http_body::{Body as _, Frame};
use scalekit_core::http::{Problem, Shed};
use scalekit_core::slo::Outcome;
use scalekit_testkit::Rng;
use tower::ServiceExt;

/// An app whose handlers do what the path tells them.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/checkout", post(|| misbehave(0)))
        .route("/plan/{steps}", get(|axum::extract::Path(plan): axum::extract::Path<u64>| misbehave(plan)))
}

/// A request, and after how many polls its client goes away.
pub(crate) struct Mishap {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    polls: u64,
}

impl Mishap {
    /// More than three in ten live long enough to be dropped, at a random poll.
    pub(crate) fn random(random: &mut Rng) -> Self {
        let path = match random.below(10) {
            0 => "/checkout".to_owned(),
            1 => format!("/nowhere/{}", random.below(1_000)),
            _ => format!("/plan/{}", random.below(4_096)),
        };
        let method = if path == "/checkout" { "POST" } else { *random.pick(&["GET", "GET", "GET", "BREW"]) };
        let last = *random.pick(&[3, 4, 12]);
        let polls = if random.below(10) < 8 { random.below(last) } else { u64::MAX };
        Self { method, path, polls }
    }

    /// Polls a request by hand and drops it after so many polls; says how it ended, seen from outside.
    pub(crate) fn drive(&self, app: &Router) -> End {
        let request = Request::builder().method(self.method).uri(&self.path);
        let request = request.body(Body::empty()).unwrap();
        let mut left = self.polls.max(1);
        let mut cx = Context::from_waker(Waker::noop());
        // The router itself is no part of a request: the layer counts from the first poll on, which calls it.
        let mut head = Box::pin(app.clone().oneshot(request));
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
}

/// How a request ended.
pub(crate) struct End {
    /// What its head told, if there was one.
    pub(crate) head: Option<Outcome>,
    pub(crate) stream: bool,
    pub(crate) outcome: Outcome,
}

/// A handler whose every turn is chosen by bits of the plan.
pub(crate) async fn misbehave(plan: u64) -> Response {
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

/// What a scripted body does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Wait(Duration),
    Data(&'static [u8]),
    Trailers,
    Yield,
    Error,
    Panic,
}

/// A body that follows a script and does not know its length.
pub(crate) struct Scripted {
    steps: std::vec::IntoIter<Step>,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

pub(crate) fn scripted(steps: Vec<Step>) -> Body {
    Body::new(Scripted { steps: steps.into_iter(), waiting: None })
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(sleep) = self.waiting.as_mut() {
                std::task::ready!(sleep.as_mut().poll(cx));
                self.waiting = None;
            }
            match self.steps.next() {
                None => return Poll::Ready(None),
                Some(Step::Wait(duration)) => self.waiting = Some(Box::pin(tokio::time::sleep(duration))),
                Some(Step::Data(data)) => {
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data)))));
                }
                Some(Step::Trailers) => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("x-checksum", "7".parse().unwrap());
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Some(Step::Yield) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Error) => return Poll::Ready(Some(Err("the body broke".into()))),
                Some(Step::Panic) => panic!("the body panicked on purpose"),
            }
        }
    }
}
