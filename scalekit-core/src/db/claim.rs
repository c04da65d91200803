//! Claim an id once, in the transaction of the effect: what idempotency keys and inboxes share.

use std::{fmt, time::Duration};

use sha2::{Digest, Sha256};

use super::{DbConnection, Pooler};
use crate::{Error, ErrorKind, OperationId, Position, Result};

/// How long a claim waits inside the database for another that has not ended.
const LOCK_WAIT: Duration = Duration::from_millis(10);

/// What is claimed: a digest, so that the store holds no key and no user id.
///
/// ```
/// use scalekit_core::db::ClaimId;
/// // Every part is length-prefixed: no two lists of parts collide by concatenation.
/// assert_ne!(ClaimId::new("orders", [b"ab", b"c".as_slice()]), ClaimId::new("orders", [b"a", b"bc".as_slice()]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimId([u8; 32]);

impl ClaimId {
    /// The id of these parts in a namespace: SHA-256 over the length-prefixed parts.
    pub fn new<'a>(namespace: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(namespace.as_bytes());
        parts.into_iter().for_each(add);
        Self(hash.finalize().into())
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The id of the operation that claimed it at this time of the database's clock.
    pub(crate) fn operation(&self, micros: i64) -> OperationId {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        OperationId::new(micros.unsigned_abs(), u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

impl fmt::Debug for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "ClaimId({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// A claim to be made; see [`claim`] for an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct Claim {
    pub(crate) id: ClaimId,
    pub(crate) fingerprint: Option<Vec<u8>>,
    pub(crate) retention: Duration,
    pub(crate) deadline: Duration,
    pub(crate) lock_wait: Duration,
    pub(crate) pooler: Pooler,
}

impl Claim {
    /// A claim of this id, kept for a day, in a transaction that may take ten seconds.
    pub fn new(id: ClaimId) -> Self {
        Self {
            id,
            fingerprint: None,
            retention: Duration::from_secs(86_400),
            deadline: Duration::from_secs(10),
            lock_wait: LOCK_WAIT,
            pooler: Pooler::Direct,
        }
    }

    /// Bytes that tell whether a later claim of the same id asks for the same thing.
    pub fn with_fingerprint(mut self, fingerprint: impl Into<Vec<u8>>) -> Self {
        self.fingerprint = Some(fingerprint.into());
        self
    }

    /// How long the id stays claimed. After it, the same id can be claimed again.
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How long a statement of the transaction, or a pause between two, may last. Postgres ends it then.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What stands between this connection and the database.
    pub fn with_pooler(mut self, pooler: Pooler) -> Self {
        self.pooler = pooler;
        self
    }
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Claimed {
    /// It is yours: make the effect in this transaction.
    Taken(OperationId),
    /// It was claimed by a transaction that has committed.
    Before(Finished),
    /// Another transaction holds it and has not ended. Roll this one back, as Postgres has aborted it, and try later.
    Busy,
}

/// The record that a committed claim left; see [`claim`].
#[derive(Clone, PartialEq, Eq)]
pub struct Finished {
    /// The operation that claimed it.
    pub operation: OperationId,
    /// A position at or after its commit.
    pub position: Position,
    /// What [`Claim::with_fingerprint`] was given.
    pub fingerprint: Option<Vec<u8>>,
    /// What [`finish`] stored; empty if it was not called.
    pub answer: Answer,
}

/// What is stored with a claim for those who come later; see [`finish`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// An HTTP status; `None` for a claim that stores no answer.
    pub status: Option<u16>,
    /// The head, in the caller's encoding.
    pub head: Vec<u8>,
    /// The body; `None` if it was not kept.
    pub body: Option<Vec<u8>>,
    /// What must follow the commit in other stores, in the caller's encoding.
    pub after_commit: Option<Vec<u8>>,
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finished")
            .field("operation", &self.operation)
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Claims an id in the caller's transaction.
///
/// Exactly one transaction that commits holds an id until its retention is over; a rollback or a lost
/// connection frees it at once. It sets the transaction's `statement_timeout`, `lock_timeout` and
/// `idle_in_transaction_session_timeout` to the claim's deadline.
///
/// **Round trips**: 1; 2 if another claim committed at the same moment.
///
/// # Errors
/// [`ErrorKind::Misuse`] outside a transaction or above READ COMMITTED, where a concurrent claim would not be
/// seen. Otherwise the database's failure.
///
/// ```no_run
/// # async fn f(pool: sqlx::PgPool) -> scalekit_core::Result<()> {
/// use scalekit_core::db::{Claim, ClaimId, Claimed, claim};
///
/// let mut tx = pool.begin().await?;
/// let id = ClaimId::new("mailer", [b"message-17".as_slice()]);
/// match claim(&mut *tx, &Claim::new(id)).await? {
///     Claimed::Taken(_) => { /* the effect, on `tx` */ tx.commit().await? }
///     Claimed::Before(_) => { /* done before: acknowledge */ }
///     Claimed::Busy => { /* somebody is at it: try again later */ }
/// }
/// # Ok(()) }
/// ```
pub async fn claim<C: DbConnection>(conn: &mut C, claim: &Claim) -> Result<Claimed> {
    if !conn.is_in_transaction() {
        return Err(Error::new(
            ErrorKind::Misuse,
            "a claim needs a transaction: begin one on this connection first",
        ));
    }
    conn.claim(claim).await
}

/// Stores the answer with a claim, in the transaction that took it. One round trip.
///
/// # Errors
/// [`ErrorKind::Misuse`] if this transaction holds no such claim. Otherwise the database's failure.
///
/// ```no_run
/// # async fn f(mut tx: scalekit_core::db::Tx, claim: scalekit_core::db::Claim) -> scalekit_core::Result<()> {
/// use scalekit_core::db::{Answer, finish};
///
/// let receipt = b"sent as message 17".to_vec();
/// finish(&mut *tx, &claim, &Answer { status: Some(201), body: Some(receipt), ..Answer::default() }).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
pub async fn finish<C: DbConnection>(conn: &mut C, claim: &Claim, answer: &Answer) -> Result<()> {
    if !conn.is_in_transaction() {
        return Err(Error::new(
            ErrorKind::Misuse,
            "an answer is stored in the transaction that claimed its key",
        ));
    }
    conn.finish(claim, answer).await
}

/// A claim that this transaction does not hold.
pub(crate) fn not_claimed() -> Error {
    Error::new(ErrorKind::Misuse, "this transaction holds no claim of that id")
}
