//! The layer: from a keyed request to its one answer.

use std::{fmt, sync::Arc, time::Duration};

use axum_core::{body::Body, response::IntoResponse};
use http::{StatusCode, request::Parts};
use scalekit_core::{
    Hop, Timing,
    db::{ClaimId, Db},
    http::{Around, AroundLayer, Participants, Place, Problem, Request, Response},
};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::{
    after::Background,
    answer::internal,
    body::read_body,
    config::{Config, DefaultDb},
    count::{Counters, Counts, Ended},
    execute::Execution,
    fingerprint::Fingerprint,
    flight::Flights,
    key::Key,
    step::Step,
    turn::{Keyed, Turn},
};

/// Idempotency keys for a route whose handler writes through [`Tx`](scalekit_core::db::Tx).
///
/// The key's record and the handler's writes commit in one transaction, so they exist together or not at all.
///
/// **Guarantee**: for the retention, all writes that went through the transaction happened exactly once for a
/// (principal, key), and every answered retry got the same status, kept headers and body.
/// **Non-guarantee**: what the handler does outside the transaction is repeated by a retry after a crash; give it a
/// key derived from the order. After the retention a key executes again.
///
/// | the request | the answer |
/// |---|---|
/// | no key, or malformed | 400 |
/// | new key | the handler's; below 400 it is committed and stored, else rolled back and not stored |
/// | finished key, same request | the stored one, with `Idempotent-Replayed: true` |
/// | finished key, other request | 422 |
/// | key whose first request still runs | waits, then as above; after the bound 409 with `Retry-After` |
/// | database down, COMMIT unanswered | 503 with `Retry-After`; repeat with the same key |
///
/// What another request's execution has decided carries `Idempotent-Replayed: true`: replays, and refusals of the key (409,
/// 422). A request that is refused before its key is looked up (400, 401, 413), or because the database is down, does not.
///
/// **Round trips** to the database beside the handler's own: BEGIN, claim, finish, COMMIT with the position; a replay
/// BEGIN and claim; a duplicate that waited in the same process none. No connection is held while a body arrives.
///
/// A client that hangs up before the claim cancels everything; afterwards the execution runs to its end in a task
/// of its own. Call [`drain`](Self::drain) before the process exits.
///
/// ```
/// use axum::{Json, Router, routing::post};
/// use scalekit_core::{Principal, db::{PoolSource, Tx}};
/// use scalekit_idempotency::Idempotency;
///
/// async fn pay(who: Principal, mut tx: Tx, Json(cents): Json<i64>) -> Result<http::StatusCode, scalekit_core::Error> {
///     sqlx::query("insert into payment (who, cents) values ($1, $2)").bind(who.id()).bind(cents).execute(&mut *tx).await?;
///     Ok(http::StatusCode::CREATED)
/// }
///
/// fn routes(pool: sqlx::PgPool) -> scalekit_core::Result<Router> {
///     let idempotency = Idempotency::builder(PoolSource::new(pool)).by_principal().build()?;
///     Ok(Router::new().route("/payments", post(pay).layer(idempotency.layer())))
/// }
/// ```
pub struct Idempotency<D: Db = DefaultDb>(Arc<Shared<D>>);

pub(crate) struct Shared<D: Db> {
    pub(crate) config: Config<D>,
    pub(crate) tasks: TaskTracker,
    pub(crate) background: Background,
    pub(crate) counts: Counts,
    pub(crate) flights: Arc<Flights>,
}

impl<D: Db> Idempotency<D> {
    pub(crate) fn new(config: Config<D>) -> Self {
        let (tasks, counts, flights) = (TaskTracker::new(), Counts::default(), Arc::default());
        let background = Background::new(tasks.clone());
        Self(Arc::new(Shared { config, tasks, background, counts, flights }))
    }

    /// The layer for the routes whose requests carry a key.
    pub fn layer(&self) -> AroundLayer<Self> {
        AroundLayer::new(self.clone())
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.0.counts.read()
    }

    /// Waits until the executions that are under way, and what follows their commits, have ended; at most `deadline`.
    ///
    /// Returns whether they have.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.0.tasks.close();
        tokio::time::timeout(deadline, self.0.tasks.wait()).await.is_ok()
    }
}

impl<D: Db> Around for Idempotency<D> {
    async fn around<S>(self, request: Request, inner: S) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        let shared = self.0;
        let (mut parts, body) = request.into_parts();
        let timing = shared.config.signals.start(Hop::Service, "idempotency");
        let (keyed, body) = match shared.read(&mut parts, body).await {
            Ok(read) => read,
            Err(refusal) => {
                timing.end("refused");
                return Ok(refusal.into_response());
            }
        };
        let taken = match shared.wait_for_turn(&keyed).await {
            Ok(Turn::Execute(taken)) => *taken,
            Ok(Turn::Answer(ended, response)) => {
                shared.ended(timing, ended);
                return Ok(response);
            }
            Err(error) => {
                shared.ended(timing, Ended::Failed);
                return Ok(error.into_response());
            }
        };
        shared.step(Step::AfterClaim);
        parts.extensions.insert(taken.operation);
        let execution =
            Execution { shared: Arc::clone(&shared), taken, participants: keyed.participants, timing };
        let request = Request::from_parts(parts, Body::from(body));
        // In a task of its own: from here on a client that hangs up cancels nothing.
        match shared.tasks.spawn(execution.run(request, inner)).await {
            Ok(answer) => answer,
            Err(_) => Ok(internal()),
        }
    }
}

impl<D: Db> Shared<D> {
    async fn read(&self, parts: &mut Parts, body: Body) -> Result<(Keyed, bytes::Bytes), Problem> {
        Place::Idempotency.enter(&mut parts.extensions)?;
        let key = Key::of(&parts.headers)?;
        let who = (self.config.who)(parts)
            .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "Sign in first"))?;
        let body = read_body(body, self.config.request_limit, self.config.body_within).await?;
        let kind: &[u8] = if who.is_guest() { b"guest" } else { b"user" };
        let scope = [kind, who.tenant_id().as_bytes(), who.id().as_bytes(), key.as_bytes()];
        let id =
            ClaimId::new(&self.config.namespace, [b"idempotency-key".as_slice()].into_iter().chain(scope));
        let participants = parts.extensions.get::<Participants>().cloned().unwrap_or_default();
        let fingerprint = Fingerprint::of(parts, &body);
        Ok((Keyed { id, who, fingerprint, participants }, body))
    }

    /// Counts how a request has ended, and reports it.
    pub(crate) fn ended(&self, timing: Timing, ended: Ended) {
        self.counts.count(ended);
        timing.end(ended.as_str());
    }

    pub(crate) fn step(&self, step: Step) {
        if let Some(observer) = &self.config.observer {
            observer(step);
        }
    }
}

impl<D: Db> Clone for Idempotency<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Db> fmt::Debug for Idempotency<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").field("namespace", &self.0.config.namespace).finish_non_exhaustive()
    }
}
