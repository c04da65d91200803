//! One execution: handler, finish, COMMIT, and what must follow it.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum_core::{body::Body, response::IntoResponse};
use futures_util::FutureExt;
use http::response::Parts;
use scalekit_core::{
    Error, ErrorKind, OperationId, Position, Result, Timing,
    db::{Claim, Db, TxSlot, finish},
    http::{Participants, Request, Response},
};
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use crate::{
    after,
    answer::internal,
    body::{Kept, keep_body},
    count::Ended,
    manager::Shared,
    state::{Effect, Record, commits},
    step::Step,
    stored::Stored,
    turn::Taken,
};

/// A claimed key, and all that is needed to answer its request.
pub(crate) struct Execution<D: Db> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) taken: Taken<D>,
    pub(crate) participants: Participants,
    pub(crate) timing: Timing,
}

/// How the handler ended.
enum Ran<E> {
    Answered(Response),
    Failed(E),
    Panicked,
    Late,
}

impl<D: Db> Execution<D> {
    pub(crate) async fn run<S>(self, mut request: Request, inner: S) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        let Self { shared, taken: Taken { lead, tx, claim, operation }, participants, timing } = self;
        let timing = timing.or(Ended::Failed.as_str());
        let until = Instant::now() + shared.config.deadline;
        let slot = TxSlot::lend(tx);
        request.extensions_mut().insert(slot.clone());
        participants.iter().for_each(|participant| participant.enlist());
        let refused = Refused(Some(&participants));
        let ran = handle(inner, request, until).await;
        shared.step(Step::AfterHandler);
        let response = match ran {
            Ran::Answered(response) => response,
            Ran::Failed(error) => {
                shared.ended(timing, Ended::Failed);
                return Err(error);
            }
            Ran::Panicked => {
                shared.ended(timing, Ended::Failed);
                return Ok(internal());
            }
            Ran::Late => {
                // Its statement may still run on the server: the connection is not to be used again.
                if let Some(tx) = slot.reclaim() {
                    tx.close();
                }
                shared.ended(timing, Ended::Failed);
                return Ok(late("the handler did not end within the deadline").into_response());
            }
        };
        let effect = response.extensions().get::<Effect>().copied();
        if !commits(response.status(), effect) {
            if let Some(tx) = slot.reclaim() {
                // A lost connection rolls back as well.
                tx.rollback().await.ok();
            }
            shared.ended(timing, Ended::RolledBack);
            return Ok(response);
        }
        let settling =
            Settling { shared: &shared, claim: &claim, operation, participants: &participants, until };
        let (record, answer) = match settling.commit(slot, response).await {
            Ok(settled) => settled,
            Err(error) => {
                shared.ended(timing, Ended::of(error.kind()));
                return Ok(error.into_response());
            }
        };
        refused.stand_down();
        shared.step(Step::AfterCommit);
        after::apply(&participants, operation, &record.after_commit, &shared.background).await;
        // The answer waits for what follows the commit, and so does the clock.
        shared.ended(timing, Ended::Executed);
        lead.land(Arc::new(record));
        shared.step(Step::BeforeResponse);
        Ok(answer)
    }
}

async fn handle<S>(mut inner: S, request: Request, until: Instant) -> Ran<S::Error>
where
    S: Service<Request, Response = Response> + Send + 'static,
    S::Future: Send,
{
    let handler = AssertUnwindSafe(async move { inner.call(request).await }).catch_unwind();
    match timeout_at(until, handler).await {
        Ok(Ok(Ok(response))) => Ran::Answered(response),
        Ok(Ok(Err(error))) => Ran::Failed(error),
        Ok(Err(_)) => Ran::Panicked,
        Err(_) => Ran::Late,
    }
}

/// What it takes to store a response with its key and commit.
struct Settling<'a, D: Db> {
    shared: &'a Shared<D>,
    claim: &'a Claim,
    operation: OperationId,
    participants: &'a Participants,
    until: Instant,
}

impl<D: Db> Settling<'_, D> {
    async fn commit(self, slot: TxSlot<D>, response: Response) -> Result<(Record, Response)> {
        let (parts, body) = response.into_parts();
        let kept = timeout_at(self.until, keep_body(body, self.shared.config.response_limit)).await;
        let kept = kept.map_err(|_| late("the response's body did not end in time"))??;
        let mut tx = slot.reclaim().ok_or_else(|| {
            Error::new(
                ErrorKind::Misuse,
                "the handler answered, but something it left behind still holds its `Tx`",
            )
        })?;
        let (body, answer) = match kept {
            Kept::Whole(bytes) => (Some(bytes.clone()), Body::from(bytes)),
            Kept::TooLarge(body) => (None, body),
        };
        let mut record = Record {
            operation: self.operation,
            position: Position::ORIGIN,
            response: Stored::keep(parts.status, &parts.headers, body),
            after_commit: after::record(self.participants)?,
        };
        match timeout_at(self.until, finish(&mut *tx, self.claim, &record.to_answer())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tx.fail(&error);
                return Err(error);
            }
            Err(_) => {
                tx.close();
                return Err(late("the database did not store the answer in time"));
            }
        }
        self.shared.step(Step::BeforeCommit);
        record.position = tx.commit().await?;
        let answer = answer_with(parts, answer, record.position);
        Ok((record, answer))
    }
}

fn late(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

fn answer_with(parts: Parts, body: Body, position: Position) -> Response {
    let mut response = Response::from_parts(parts, body);
    response.extensions_mut().insert(position);
    response
}

/// Tells the participants to forget what they were asked for, unless the commit came.
struct Refused<'a>(Option<&'a Participants>);

impl Refused<'_> {
    fn stand_down(mut self) {
        self.0 = None;
    }
}

impl Drop for Refused<'_> {
    fn drop(&mut self) {
        for participant in self.0.iter().flat_map(|participants| participants.iter()) {
            participant.discard();
        }
    }
}
