//! What machines and the people on call ask: alive, ready, metrics, lag.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use scalekit::outbox::{Scaling, ScalingTarget};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    app::Pod,
    ops, pages,
    problems::{Body, Refusal, not_parked},
    service::Phase,
};

/// `GET /healthz`
pub(crate) async fn alive() -> &'static str {
    "alive\n"
}

/// `GET /readyz`: 200 while this process can serve what needs no store, whatever state the stores are in.
pub(crate) async fn ready(State(pod): State<Pod>) -> Response {
    let (status, state) = match pod.shared.state.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Phase::Serving => (StatusCode::OK, "serving"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    let shards: Vec<_> = pod
        .topology
        .shards()
        .map(|shard| json!({"name": shard.name(), "state": up(!shard.is_down())}))
        .collect();
    let relays: Vec<_> = pod
        .watch
        .databases()
        .into_iter()
        .map(|seen| json!({"database": seen.name, "state": up(seen.lag.is_some()), "error": seen.error}))
        .collect();
    let sessions = json!({"store": pod.sessions.kind(), "state": up(!pod.sessions.is_down())});
    let body =
        json!({"state": state, "pod": pod.number, "sessions": sessions, "shards": shards, "relays": relays});
    (status, Json(body)).into_response()
}

/// `GET /metrics`: of all pods of this process.
pub(crate) async fn metrics(State(pod): State<Pod>) -> Result<Response, Refusal> {
    let text = ops::metrics(&pod)?;
    Ok(([(header::CONTENT_TYPE, scalekit::slo::CONTENT_TYPE)], text).into_response())
}

/// `GET /scaling/outbox`
pub(crate) async fn scaling(State(pod): State<Pod>) -> Json<Scaling> {
    let lags = pod.watch.databases().into_iter().filter_map(|seen| seen.lag);
    Json(Scaling::of(lags, &ScalingTarget::default()))
}

/// `GET /ops`
pub(crate) async fn page() -> Html<String> {
    Html(pages::ops())
}

/// `GET /ops/data`: the tables of the page.
pub(crate) async fn data(State(pod): State<Pod>) -> Json<Value> {
    Json(ops::tables(&pod))
}

/// Which event is to be handled again.
#[derive(Deserialize)]
pub(crate) struct Redrive {
    event: Uuid,
}

/// `POST /ops/redrive`: has a parked event handled again. As public as the page, which a service that is not an
/// example keeps to its own network; only JSON is taken, so that no other site's form can send it.
pub(crate) async fn redrive(
    State(pod): State<Pod>,
    Body(asked): Body<Redrive>,
) -> Result<StatusCode, Refusal> {
    match pod.watch.redrive(asked.event).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(not_parked().into()),
    }
}

fn up(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}
