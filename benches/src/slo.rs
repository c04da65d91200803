//! What it costs a request to be measured.

use std::{convert::Infallible, time::Duration};

use axum::{Router, body::Body, extract::MatchedPath, routing::get};
use futures_util::FutureExt as _;
use http::Method;
use scalekit::{
    http::{Around, AroundLayer, Request, Response},
    slo::{Objective, ObjectiveSet, Slo},
};
use tower::{Layer as _, Service, layer::util::Identity};

use crate::{
    app,
    duel::{Case, Duel, Meter},
};

/// The comparison that the peers join.
pub const DUEL: Duel = Duel {
    title: "Layer around an axum route: CPU per request",
    unit: "request",
    meter: Meter::Cpu,
    rounds: 60,
    per_round: 5_000,
};

/// The route that is measured.
pub fn bare() -> Router {
    Router::new().route("/hello/{name}", get(|| async { "hello" }))
}

/// A case of requests to that route.
pub fn case(name: &str, app: Router) -> Case {
    // As `axum::serve` does for each connection: layers are then put around handlers once, not with each request.
    app::one_by_one(name, app.with_state(()), app::get("/hello/ada", None))
}

/// An objective of that route, and a journey that begins with it.
pub fn objectives() -> ObjectiveSet {
    let on = |name| Objective::new(name).route(Method::GET, "/hello/{name}").target(0.99);
    let hello = on("hello").latency(Duration::from_millis(250)).availability(0.999);
    let paid = on("paid").latency(Duration::from_secs(5)).until("paid");
    ObjectiveSet::builder("bench").objective(hello).objective(paid).build().unwrap()
}

/// Makes one request to each of so many routes and methods.
pub fn visit(slo: &Slo, slots: usize) {
    let layer = slo.layer(|request| request.headers().get("route")?.to_str().ok());
    let service = tower::service_fn(|_| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let mut service = layer.layer(service);
    for n in 0..slots {
        let method = ["GET", "POST", "PUT", "DELETE", "PATCH"][n % 5];
        let request =
            http::Request::builder().method(method).header("route", format!("/route/{}/{{id}}", n / 5));
        let answer = service.call(request.body(Body::empty()).unwrap()).now_or_never();
        answer.expect("the service waits for nothing").unwrap();
    }
}

/// Bare, layers that do nothing, ours.
pub fn cases() -> Vec<Case> {
    let slo = Slo::new(objectives());
    let layer = slo.layer(|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    vec![
        case("bare router", bare()),
        case("no-op layer (axum's boxes alone)", bare().layer(Identity::new())),
        case("no-op middleware on scalekit's seam", bare().layer(AroundLayer::new(Nothing))),
        case("scalekit SLO layer", bare().layer(layer)),
    ]
}

/// A middleware that passes everything on.
#[derive(Clone)]
struct Nothing;

impl Around for Nothing {
    async fn around<S>(self, request: Request, mut inner: S) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        inner.call(request).await
    }
}
