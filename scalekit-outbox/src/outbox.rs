//! Appending: events become rows in the caller's own transaction.

use std::sync::Arc;

use scalekit_core::{Error, ErrorKind, Result, db::Pooler};
use tokio::sync::watch;

use crate::{Event, OutboxConnection};

/// Most events of one call.
const BATCH: usize = 1000;

/// Appends events in the transaction of the change that they tell of.
///
/// Committed together or not at all. A value without a connection or a task: make one per process, clone it
/// freely, and give it to the [`Relay`](crate::Relay)s so that they hear of appended events at once.
///
/// ```no_run
/// # async fn f(pool: sqlx::PgPool) -> scalekit_core::Result<()> {
/// use scalekit_outbox::{Event, Outbox};
///
/// let outbox = Outbox::new();
/// let mut tx = pool.begin().await?;
/// sqlx::query("update orders set status = 'placed' where id = 17").execute(&mut *tx).await?;
/// let placed = Event::new("order.placed", "order-17", &serde_json::json!({"total_cents": 999}))?;
/// outbox.append(&mut *tx, &placed).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    waker: Waker,
    pooler: Pooler,
}

impl Outbox {
    /// An outbox; its tables are those of [`MIGRATIONS`](crate::MIGRATIONS).
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands between the callers' connections and the database.
    #[must_use]
    pub fn with_pooler(mut self, pooler: Pooler) -> Self {
        self.pooler = pooler;
        self
    }

    /// Appends one event or a slice of them, in their order.
    ///
    /// **Round trips**: 1, a single INSERT without trigger or NOTIFY; none for an empty slice. On SQLite one
    /// statement per event, in process.
    ///
    /// # Errors
    /// [`ErrorKind::Misuse`] outside a transaction, [`ErrorKind::TooLarge`] for more than 1,000 events;
    /// otherwise the database's failure.
    pub async fn append<C: OutboxConnection>(&self, conn: &mut C, events: impl AsRef<[Event]>) -> Result<()> {
        let events = events.as_ref();
        if !conn.is_in_transaction() {
            let message = "an event is appended in the transaction of its change: begin one first";
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        if events.len() > BATCH {
            let message = format!("one call may append {BATCH} events, not {}", events.len());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        if events.is_empty() {
            return Ok(());
        }
        conn.append(events, self.pooler).await?;
        self.waker.wake();
        Ok(())
    }

    /// The handle that tells relays of this process to look for events now.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }
}

/// Tells the relays of this process to look for events now, instead of at their next poll.
///
/// [`Outbox::append`] calls it. The commit is still to come then, so a relay that finds nothing looks again,
/// ever more seldom, for about two seconds.
///
/// ```
/// let outbox = scalekit_outbox::Outbox::new();
/// outbox.waker().wake(); // for rows that were inserted by hand
/// ```
#[derive(Clone, Debug)]
pub struct Waker(Arc<watch::Sender<u64>>);

impl Waker {
    /// Wakes every relay that listens.
    pub fn wake(&self) {
        self.0.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Sees every wake from now on.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Default for Waker {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}
