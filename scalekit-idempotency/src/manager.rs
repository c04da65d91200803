//! The layer: from a keyed request to its one answer.

use std::{fmt, sync::Arc, time::Duration};

use axum_core::{body::Body, response::IntoResponse};
use http::{HeaderValue, StatusCode, request::Parts};
use scalekit_core::{
    Error, OperationId, Participants, Principal,
    db::{Claim, ClaimId, Db, Tx, claim},
    http::{Around, AroundLayer, Place, Problem, Request, Response},
};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use tower_service::Service;

use crate::{
    after::{self, Background},
    body::read_body,
    config::{Config, DefaultDb},
    count::{Counters, Counts},
    execute::Execution,
    fingerprint::Fingerprint,
    flight::{Flights, Joined, Landed, Lead},
    key::Key,
    state::{Next, Record, next},
    step::Step,
    stored::REPLAYED,
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
    flights: Arc<Flights>,
}

/// A request whose body has been read, and what identifies it.
struct Keyed {
    id: ClaimId,
    who: Principal,
    fingerprint: Fingerprint,
    participants: Participants,
}

/// What came of asking the database.
enum Turn<D: Db> {
    Execute(Box<Taken<D>>),
    Answer(Response),
}

/// A claimed key with the transaction that holds it.
pub(crate) struct Taken<D: Db> {
    pub(crate) lead: Lead,
    pub(crate) tx: Tx<D>,
    pub(crate) claim: Claim,
    pub(crate) operation: OperationId,
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
        let (keyed, body) = match shared.read(&mut parts, body).await {
            Ok(read) => read,
            Err(refusal) => return Ok(refusal.into_response()),
        };
        let taken = match shared.wait_for_turn(&keyed).await {
            Ok(Turn::Execute(taken)) => *taken,
            Ok(Turn::Answer(response)) => return Ok(response),
            Err(error) => return Ok(error.into_response()),
        };
        shared.step(Step::AfterClaim);
        parts.extensions.insert(taken.operation);
        let execution = Execution { shared: Arc::clone(&shared), taken, participants: keyed.participants };
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

    /// Waits until this request may execute, or has its answer.
    async fn wait_for_turn(&self, keyed: &Keyed) -> Result<Turn<D>, Error> {
        let until = Instant::now() + self.config.wait;
        let sealed = keyed.fingerprint.seal()?;
        let mut waited = false;
        loop {
            let lead = match self.flights.join(keyed.id, &keyed.fingerprint, &sealed) {
                Joined::Lead(lead) => lead,
                Joined::Mismatch => return Ok(Turn::Answer(self.mismatch())),
                Joined::Follow(follow) => {
                    waited = true;
                    match timeout_at(until, follow.landed()).await {
                        Ok(Landed::Finished(record)) => return Ok(Turn::Answer(self.replay(&record))),
                        Ok(Landed::Free) => continue,
                        Err(_) => return Ok(Turn::Answer(self.in_flight())),
                    }
                }
            };
            self.step(Step::BeforeClaim);
            return self.lead(keyed, lead, &sealed, waited, until).await;
        }
    }

    /// Claims the key, as the only one of this process; waits outside the database for one of another process.
    async fn lead(
        &self,
        keyed: &Keyed,
        lead: Lead,
        sealed: &[u8],
        mut waited: bool,
        until: Instant,
    ) -> Result<Turn<D>, Error> {
        let claim_of = Claim::new(keyed.id)
            .with_fingerprint(sealed)
            .with_retention(self.config.retention)
            .with_deadline(self.config.deadline)
            .with_pooler(self.config.pooler);
        let mut pause = Duration::from_millis(5);
        loop {
            let mut tx = self.config.source.begin(&keyed.who).await?;
            let claimed =
                match timeout_at(Instant::now() + self.config.deadline, claim(&mut *tx, &claim_of)).await {
                    Ok(Ok(claimed)) => claimed,
                    Ok(Err(error)) => {
                        tx.fail(&error);
                        return Err(error);
                    }
                    Err(_) => {
                        tx.close();
                        let message = "the database did not answer the claim in time";
                        return Err(Error::new(scalekit_core::ErrorKind::Unavailable, message));
                    }
                };
            match next(claimed, &keyed.fingerprint)? {
                Next::Execute(operation) => {
                    if waited {
                        for participant in keyed.participants.iter() {
                            participant.refresh().await?;
                        }
                    }
                    return Ok(Turn::Execute(Box::new(Taken { lead, tx, claim: claim_of, operation })));
                }
                Next::Replay(record) => {
                    drop(tx);
                    after::apply(
                        &keyed.participants,
                        record.operation,
                        &record.after_commit,
                        &self.background,
                    )
                    .await;
                    lead.land(Arc::clone(&record));
                    return Ok(Turn::Answer(self.replay(&record)));
                }
                Next::Mismatch => return Ok(Turn::Answer(self.mismatch())),
                Next::Wait => {
                    tx.rollback().await?;
                    waited = true;
                    if Instant::now() + pause >= until {
                        return Ok(Turn::Answer(self.in_flight()));
                    }
                    sleep(jittered(pause)).await;
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
            }
        }
    }

    pub(crate) fn step(&self, step: Step) {
        if let Some(observer) = &self.config.observer {
            observer(step);
        }
    }

    fn replay(&self, record: &Record) -> Response {
        self.counts.replayed();
        let mut response = record.response.replay();
        response.extensions_mut().insert(record.position);
        response
    }

    fn mismatch(&self) -> Response {
        self.counts.mismatched();
        let title = "This Idempotency-Key was used with a different request";
        replayed(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", title))
    }

    fn in_flight(&self) -> Response {
        self.counts.in_flight();
        let title = "The first request with this Idempotency-Key still runs";
        let problem = Problem::new(StatusCode::CONFLICT, "in-flight", title);
        replayed(problem.with_retry_after(Duration::from_secs(1)))
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

/// An answer that is not an execution's own.
fn replayed(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

pub(crate) fn internal() -> Response {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error").into_response()
}

/// Half to all of it, so that waiting processes do not ask in step.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    let random = getrandom::fill(&mut byte).map_or(255, |()| byte[0]);
    pause / 2 + pause * u32::from(random) / 512
}
