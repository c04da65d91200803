//! The app of one pod: its routes, and the whole stack around them.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::map_response,
    routing::{get, post},
};
use scalekit::{
    Result, Signals, Stack, Worker, Workers,
    idempotency::{Idempotency, Step},
    outbox::Outbox,
    shard::Topology,
    slo::Slo,
};

use crate::{
    carriers::Carriers,
    db::Db,
    failpoints, objectives, problems,
    routes::{cart, checkout, operations, orders, public, session},
    service,
    sessions::SessionStore,
    shared::Shared,
    tables::Source,
    watch::Watch,
};

/// The largest request body, in bytes.
const BODY_MAX: usize = 16 * 1024;
/// Connections per shard for relay and consumer, so that requests cannot starve them; a probe makes it four.
const BACKGROUND_POOL: u32 = 3;

/// What handlers share; a clone is a handle.
pub(crate) type Pod = Arc<Inner>;

/// See [`Pod`].
pub(crate) struct Inner {
    pub(crate) number: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) sessions: SessionStore,
    pub(crate) topology: Topology<Db>,
    pub(crate) source: Source,
    pub(crate) outbox: Outbox,
    pub(crate) slo: Slo,
    pub(crate) watch: Arc<Watch>,
}

/// Puts a pod together on the current runtime.
pub(crate) async fn start(shared: Arc<Shared>, number: u32) -> Result<service::App> {
    let slo = Slo::builder(objectives::shop()?).label("pod", number.to_string());
    let slo = slo.naming(shared.settings.naming).tenants().build()?;
    let topology = shared.databases.topology(shared.settings.pool_max, slo.signals())?;
    let background = shared.databases.topology(BACKGROUND_POOL, Signals::default())?;
    let carriers = Carriers::new(&shared, background, &slo)?;
    let watch = Arc::new(Watch::new(&carriers));
    let mut workers = Workers::default();
    carriers.spawn(&mut workers);
    workers.spawn(Arc::clone(&watch) as Arc<dyn Worker>);
    let source = shared.tables.source(&topology);
    let idempotency = Idempotency::builder(source.clone())
        .by_principal()
        .with_request_limit(BODY_MAX)
        .with_signals(slo.signals())
        .with_observer(observe)
        .build()?;
    let sessions = SessionStore::open(&shared, slo.signals())?;
    let outbox = shared.outbox.clone();
    let pod = Arc::new(Inner { number, shared, sessions, topology, source, outbox, slo, watch });
    pod.shared.registry.enter(&pod);
    let router = router(&pod, &idempotency)?;
    let settle = Box::pin(async move {
        if !idempotency.drain(service::SETTLED).await {
            tracing::warn!(pod = number, "an execution did not end in time");
        }
    });
    Ok(service::App { router, workers, settle })
}

/// The stack. From the outside in, and why in this order:
///
/// 1. problems: whatever axum itself refuses in plain text leaves as a problem.
/// 2. SLO: it sees every answer, also the refusals of the layers below.
/// 3. sessions: they commit after everything below has answered, and cost nothing where a handler asks for none.
/// 4. principal: it refuses the anonymous before a body is read.
/// 5. idempotency: it opens the transaction on the shard of the principal's tenant.
fn router(pod: &Pod, idempotency: &Idempotency<Db>) -> Result<Router> {
    let routes = Stack::new()
        .slo(&pod.slo)
        .sessions(&pod.sessions.sessions)
        .principal(pod.sessions.sessions.principal())
        .idempotency(idempotency)
        .public(for_everybody(pod).fallback(problems::not_found))
        .signed_in(for_the_signed_in(pod))
        .keyed(with_a_key(pod))
        .into_router()?;
    Ok(routes.layer(DefaultBodyLimit::max(BODY_MAX)).layer(map_response(problems::as_problem)))
}

fn for_everybody(pod: &Pod) -> Router {
    Router::new()
        .route("/", get(public::shop))
        .route("/catalog", get(public::products))
        .route("/recommendations", get(public::recommendations))
        .route("/session", post(session::sign_in))
        .route("/healthz", get(operations::alive))
        .route("/readyz", get(operations::ready))
        .route("/metrics", get(operations::metrics))
        .route("/scaling/outbox", get(operations::scaling))
        .route("/ops", get(operations::page))
        .route("/ops/data", get(operations::data))
        .route("/ops/redrive", post(operations::redrive))
        .with_state(Arc::clone(pod))
}

fn for_the_signed_in(pod: &Pod) -> Router {
    Router::new()
        .route("/session", get(session::whoami).delete(session::sign_out))
        .route("/sessions", get(session::list).delete(session::sign_out_everywhere))
        .route("/cart", get(cart::show))
        .route("/cart/items", post(cart::add))
        .route("/orders", get(orders::list))
        .route("/orders/{id}", get(orders::show))
        .with_state(Arc::clone(pod))
}

fn with_a_key(pod: &Pod) -> Router {
    Router::new().route("/checkout", post(checkout::place)).with_state(Arc::clone(pod))
}

/// The steps of an order at which a test can stop the process; [`failpoints::watched`] has the one of the session.
fn observe(step: Step) {
    match step {
        Step::BeforeClaim => failpoints::reach("before-claim"),
        Step::AfterClaim => failpoints::reach("after-claim"),
        Step::AfterHandler => failpoints::reach("after-business-write"),
        Step::BeforeCommit => failpoints::reach("before-commit"),
        Step::AfterCommit => failpoints::reach("after-commit"),
        Step::BeforeResponse => failpoints::reach("before-response"),
        _ => {}
    }
}
