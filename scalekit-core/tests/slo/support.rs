//! What the tests share: objectives, requests, rows.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{Method, Request, Response};
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
