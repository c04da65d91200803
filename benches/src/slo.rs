//! What it costs a request to be measured.

use std::time::Duration;

use axum::{Router, extract::MatchedPath, routing::get};
use http::Method;
use scalekit::{
    http::{Around, AroundLayer, Request, Response},
    slo::{Objective, ObjectiveSet, Slo},
};
use tower::{Service, layer::util::Identity};

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
    app::one_by_one(name, app, app::get("/hello/ada", None))
}

/// Bare, layers that do nothing, ours.
pub fn cases() -> Vec<Case> {
    let hello = Objective::new("hello").route(Method::GET, "/hello/{name}");
    let hello = hello.latency(Duration::from_millis(250)).target(0.99).availability(0.999);
    let slo = Slo::new(ObjectiveSet::builder("bench").objective(hello).build().unwrap());
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
