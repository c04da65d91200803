//! The state machine of a key, as pure functions.
//!
//! | state of the key | the same request comes | another request comes |
//! |---|---|---|
//! | absent, or its retention is over | executes | executes |
//! | running (its transaction is open) | waits; replays, executes after a rollback, or 409 after the bound | 422 where this process runs it; else as the first |
//! | finished | replays | 422 |
//!
//! A transaction that is rolled back, or whose connection is lost, leaves the key absent.

use std::sync::Arc;

use http::StatusCode;
use scalekit_core::{
    OperationId, Position, Result,
    db::{Answer, Claimed, Finished},
};

use crate::{fingerprint::Fingerprint, stored::Stored};

/// What to do with a request after its claim was answered.
#[derive(Debug)]
pub(crate) enum Next {
    Execute(OperationId),
    Replay(Arc<Record>),
    Mismatch,
    Wait,
}

/// A finished key.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) operation: OperationId,
    pub(crate) position: Position,
    pub(crate) response: Stored,
    pub(crate) after_commit: Vec<u8>,
}

/// What the layer decides by the database's answer to the claim.
pub(crate) fn next(claimed: Claimed, request: &Fingerprint) -> Result<Next> {
    Ok(match claimed {
        Claimed::Taken(operation) => Next::Execute(operation),
        Claimed::Busy => Next::Wait,
        Claimed::Before(finished) => match finished.fingerprint.as_deref() {
            Some(first) if request.matches(first) => Next::Replay(Arc::new(Record::read(finished)?)),
            _ => Next::Mismatch,
        },
    })
}

impl Record {
    fn read(finished: Finished) -> Result<Self> {
        let Finished { operation, position, answer: Answer { status, head, body, after_commit }, .. } =
            finished;
        Ok(Self {
            operation,
            position,
            response: Stored::decode(status.unwrap_or_default(), &head, body)?,
            after_commit: after_commit.unwrap_or_default(),
        })
    }

    /// What is stored of it with the claim.
    pub(crate) fn to_answer(&self) -> Answer {
        Answer {
            status: Some(self.response.status.as_u16()),
            head: self.response.encode_head(),
            body: self.response.body.as_ref().map(|body| body.to_vec()),
            after_commit: Some(self.after_commit.clone()),
        }
    }
}

/// Whether a response's effect is kept, in the mode where business writes share the key's transaction.
///
/// Insert it into the response's extensions to commit a refusal as well: a declined card whose attempt is to be
/// kept, for one.
///
/// ```
/// use axum::response::{IntoResponse, Response};
/// use scalekit_idempotency::Effect;
///
/// fn declined() -> Response {
///     let mut response = http::StatusCode::PAYMENT_REQUIRED.into_response();
///     response.extensions_mut().insert(Effect::Committed);
///     response
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Commit and store the response under the key, whatever its status.
    Committed,
}

/// Below 400 the transaction commits; from 400 on it is rolled back, unless the response says otherwise.
pub(crate) fn commits(status: StatusCode, effect: Option<Effect>) -> bool {
    status.as_u16() < 400 || effect == Some(Effect::Committed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides_unless_the_response_does() {
        for status in 100..=599 {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(commits(status, None), status < StatusCode::BAD_REQUEST);
            assert!(commits(status, Some(Effect::Committed)));
        }
    }
}
