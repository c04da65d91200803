//! What the tests share: objectives, requests, bodies that misbehave, seeded randomness.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{Method, Request, Response};
use axum::{BoxError, Router};
use bytes::Bytes;
use http_body::Frame;
use scalekit_core::slo::{Objective, ObjectiveSet, RouteRow, Slo};
use tower::ServiceExt;

/// One latency objective over `POST /checkout`.
pub(crate) fn checkout(threshold: Duration) -> ObjectiveSet {
    let objective = Objective::new("checkout").route(Method::POST, "/checkout");
    let objective = objective.latency(threshold).target(0.99).availability(0.999);
    ObjectiveSet::builder("shop").objective(objective).build().unwrap()
}

/// The layer of `slo` around all routes of `router`.
pub(crate) fn layered(slo: &Slo, router: Router) -> Router {
    router.layer(slo.layer(|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)))
}

pub(crate) fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

pub(crate) async fn send(app: &Router, method: &str, path: &str) -> Response<Body> {
    let Ok::<_, Infallible>(response) = app.clone().oneshot(request(method, path)).await;
    response
}

/// The row of a route, which must be there.
pub(crate) fn row(slo: &Slo, method: &str, route: &str) -> RouteRow {
    let rows = slo.snapshot();
    let found = rows.iter().find(|row| row.method == method && row.route == route);
    found.unwrap_or_else(|| panic!("no row {method} {route} in {rows:#?}")).clone()
}

/// The only outcome of a row that is not 0, and how often it came.
pub(crate) fn only_outcome(row: &RouteRow) -> (&'static str, u64) {
    let seen: Vec<_> = row.outcomes.iter().filter(|(_, n)| **n > 0).map(|(o, n)| (*o, *n)).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen[0]
}

/// `POST /checkout` that takes exactly this long.
pub(crate) async fn take(slo: &Slo, duration: Duration) {
    let layer = slo.layer(|_| Some("/checkout"));
    let service = tower::service_fn(move |_| async move {
        tokio::time::advance(duration).await;
        Ok::<_, std::convert::Infallible>(axum::response::Response::new(axum::body::Body::empty()))
    });
    let Ok(_) = tower::Layer::layer(&layer, service).oneshot(request("POST", "/checkout")).await;
}

/// Seconds as exact decimal text, as bounds are exported.
pub(crate) fn decimal(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
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
                    let mut trailers = axum::http::HeaderMap::new();
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

/// SplitMix64: enough to choose from a script, and the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    /// Prints the seed; `SCALEKIT_SEED` repeats a run.
    pub(crate) fn seeded(name: &str) -> Self {
        let fresh = || RandomState::new().hash_one(name);
        let seed = std::env::var("SCALEKIT_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(fresh);
        println!("{name}: SCALEKIT_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
