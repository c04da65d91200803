//! The effect of an event, once, however often it arrives.

use std::time::Duration;

use scalekit_core::{
    Result,
    db::{Claim, ClaimId, Claimed, DbConnection, Pooler, claim},
};
use uuid::Uuid;

/// Remembers which events a consumer has dealt with, in the transaction of the effect.
///
/// Two deliveries of one event at once: one makes its effect, the other sees [`Received::Busy`] or, after the
/// first has committed, [`Received::Duplicate`]. Nothing is remembered by a transaction that rolls back. An id is
/// remembered for the retention, 7 days unless said otherwise: it must be longer than a repetition can be late.
///
/// **Round trips**: 1.
///
/// ```no_run
/// # async fn f(source: &scalekit_core::db::PoolSource, event: &scalekit_outbox::Delivered)
/// # -> scalekit_core::Result<scalekit_outbox::Outcome> {
/// use scalekit_core::{Error, ErrorKind};
/// use scalekit_outbox::{Inbox, Outcome, Received};
///
/// let inbox = Inbox::new();
/// let mut tx = source.open().await?;
/// match inbox.claim(&mut *tx, "mailer", event.id()).await? {
///     Received::First => {
///         sqlx::query("update orders set mailed = true where id = $1").bind(event.key()).execute(&mut *tx).await?;
///         tx.commit().await?;
///         Ok(Outcome::Done)
///     }
///     Received::Duplicate => Ok(Outcome::Done),
///     Received::Busy => Err(Error::new(ErrorKind::Conflict, "another consumer is at this event")),
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Inbox {
    retention: Duration,
    pooler: Pooler,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { retention: Duration::from_secs(7 * 86_400), pooler: Pooler::Direct }
    }
}

impl Inbox {
    /// An inbox that remembers for 7 days.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long an id is remembered.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// What stands between the connection and the database.
    #[must_use]
    pub fn with_pooler(mut self, pooler: Pooler) -> Self {
        self.pooler = pooler;
        self
    }

    /// Claims an event for a consumer in the caller's transaction.
    ///
    /// # Errors
    /// As [`claim`](scalekit_core::db::claim()).
    pub async fn claim<C: DbConnection>(
        &self,
        conn: &mut C,
        consumer: &str,
        event: Uuid,
    ) -> Result<Received> {
        let id = ClaimId::new("inbox", [consumer.as_bytes(), event.as_bytes().as_slice()]);
        let asked = Claim::new(id).with_retention(self.retention).with_pooler(self.pooler);
        Ok(match claim(conn, &asked).await? {
            Claimed::Taken(_) => Received::First,
            Claimed::Before(_) => Received::Duplicate,
            Claimed::Busy => Received::Busy,
        })
    }
}

/// What became of an [`Inbox::claim`], which has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// It is new: make its effect in this transaction.
    First,
    /// Its effect was committed before: acknowledge it.
    Duplicate,
    /// Another transaction is at it: roll this one back and try again later.
    Busy,
}
