//! The two databases, as far as the outbox needs to tell them apart.

mod known;
mod postgres;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
mod window;

use std::{future::Future, time::Duration};

use scalekit_core::{
    Result,
    db::{Db, DbConnection, Pooler},
};

use crate::{Event, Parked};
pub(crate) use known::Known;
pub(crate) use rows::{Ack, Aside, Batch, Held, Pending, Redriven, Row, Who};

pub(crate) mod sealed {
    /// Closes [`super::OutboxDb`] and [`super::OutboxConnection`] to other crates' types.
    pub trait Sealed {}
}

/// A database that can hold an outbox: Postgres, or SQLite with the feature `sqlite`. Sealed.
///
/// ```
/// fn name<D: scalekit_outbox::OutboxDb>() -> &'static str { D::NAME }
/// assert_eq!(name::<scalekit_core::db::Postgres>(), "PostgreSQL");
/// ```
pub trait OutboxDb: Db<Connection: OutboxConnection> + sealed::Sealed {}

/// A connection of an [`OutboxDb`]. Sealed.
///
/// All but `append` are the relay's, each inside a transaction that it opened for this one call.
pub trait OutboxConnection: DbConnection + sealed::Sealed {
    #[doc(hidden)]
    fn append(&mut self, events: &[Event], pooler: Pooler) -> impl Future<Output = Result<()>> + Send;

    /// Renews the lease, takes and gives lanes for a fair share, and says what is held now.
    #[doc(hidden)]
    fn balance(&mut self, who: &Who) -> impl Future<Output = Result<Held>> + Send;

    /// Puts all lanes on a fresh tick, with what was not acknowledged before them; how many events that were. `None`
    /// if there was no need, which `force` does not ask for.
    #[doc(hidden)]
    fn rebase(&mut self, force: bool, pooler: Pooler) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Whether there is anything to send.
    #[doc(hidden)]
    fn pending(&mut self, who: &Who) -> impl Future<Output = Result<Pending>> + Send;

    /// Stores a snapshot, or finds the one that another relay has just stored.
    #[doc(hidden)]
    fn tick(&mut self, who: &Who) -> impl Future<Output = Result<i64>> + Send;

    /// The next batch of each lane that is not busy.
    #[doc(hidden)]
    fn read(
        &mut self,
        who: &Who,
        tick: i64,
        known: &mut Known,
    ) -> impl Future<Output = Result<Vec<Batch>>> + Send;

    /// Acknowledges; returns the lanes of which it did.
    #[doc(hidden)]
    fn ack(&mut self, who: &Who, acks: &[Ack]) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// Notes what became of parked events that were sent again.
    #[doc(hidden)]
    fn redriven(&mut self, who: &Who, redriven: &[Redriven]) -> impl Future<Output = Result<()>> + Send;

    /// Lets go of all lanes.
    #[doc(hidden)]
    fn release(&mut self, who: &Who) -> impl Future<Output = Result<()>> + Send;

    /// Deletes snapshots that no lane stands on, and relays that are gone, in a chunk; returns how many snapshots.
    #[doc(hidden)]
    fn tidy(&mut self, who: &Who) -> impl Future<Output = Result<u64>> + Send;

    /// Deletes events that are acknowledged and old enough, in a chunk; returns how many.
    #[doc(hidden)]
    fn sweep(&mut self, who: &Who, retention: Duration) -> impl Future<Output = Result<u64>> + Send;

    /// Age of the oldest waiting event in seconds, and the capped count of them.
    #[doc(hidden)]
    fn lag(&mut self, pooler: Pooler) -> impl Future<Output = Result<(f64, u64)>> + Send;

    #[doc(hidden)]
    fn parked(&mut self, limit: u16, pooler: Pooler) -> impl Future<Output = Result<Vec<Parked>>> + Send;

    #[doc(hidden)]
    fn redrive(&mut self, event: uuid::Uuid, pooler: Pooler) -> impl Future<Output = Result<bool>> + Send;
}

/// Where counting of waiting events stops.
const COUNTED: i64 = 10_001;
/// Most events, and bytes of payload after which no further one is added, of a lane's batch.
const BATCH_EVENTS: i64 = 128;
const BATCH_BYTES: i64 = 1 << 20;
/// Most events that one sweep deletes: of each lane on Postgres, in all on SQLite.
const SWEPT: i64 = 250;

/// The headers as the JSON object that is stored; `None` if there are none.
fn headers_text(event: &Event) -> Option<String> {
    let some = !event.headers.is_empty();
    some.then(|| serde_json::to_string(&event.headers).unwrap_or_default())
}
