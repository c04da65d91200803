//! What is done about events, in order per key.

mod backoff;
mod delivered;
mod dispatch;
mod keys;
mod lease;
mod memory;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use scalekit_core::{Result, Signals, Worker};
use tokio_util::sync::CancellationToken;

use crate::MemorySink;

pub(crate) use backoff::Backoff;
pub use delivered::Delivered;
pub(crate) use dispatch::{Dispatch, Verdict};
pub(crate) use keys::Keys;
pub(crate) use lease::Lease;

/// How many events are handled at once.
const CONCURRENCY: usize = 16;
/// How long one call of the handler may take.
const HANDLER_LIMIT: Duration = Duration::from_secs(60);

/// What an application does about an event.
///
/// An event may arrive more than once: make its effect in one short transaction together with an
/// [`Inbox::claim`](crate::Inbox::claim). Call other services before that transaction, under an idempotency key
/// derived from the event, so that no connection waits for them.
///
/// ```
/// use async_trait::async_trait;
/// use scalekit_outbox::{Delivered, Handler, Outcome};
///
/// struct Audit;
/// #[async_trait]
/// impl Handler for Audit {
///     async fn handle(&self, event: &Delivered) -> scalekit_core::Result<Outcome> {
///         if event.kind() != "order.placed" { return Ok(Outcome::Done); }
///         let order: serde_json::Value = event.json()?;
///         println!("{}: {order}", event.key());
///         Ok(Outcome::Done)
///     }
/// }
/// ```
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Deals with one event. Events of one key come one after the other, in order.
    ///
    /// # Errors
    /// A transient error, or one that says that a transaction was rolled back, makes the same event come again
    /// after a pause of 0.1 to 5 seconds, without limit, and later events of its key wait. Any other error, and a
    /// panic, parks it as [`Outcome::Park`] with `retry` would.
    async fn handle(&self, event: &Delivered) -> Result<Outcome>;
}

/// What a handler made of an event.
///
/// ```
/// use scalekit_outbox::Outcome;
/// let wait = Outcome::Park { reason: "its key is not in the ring".into(), retry: true };
/// assert_ne!(wait, Outcome::Done);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It is dealt with: acknowledge it.
    Done,
    /// It cannot be dealt with now. It is set aside together with all later events of its key, shows up in the
    /// list of parked events, and other keys go on.
    Park {
        /// Why, for operators; without secrets and ids.
        reason: String,
        /// Whether to try again every few seconds; otherwise only when told to.
        retry: bool,
    },
}

/// A worker that feeds events to a [`Handler`]: in order per key, at most 16 at once.
///
/// ```no_run
/// # use std::{sync::Arc, time::Duration};
/// # async fn f(handler: Arc<dyn scalekit_outbox::Handler>) {
/// use scalekit_core::Workers;
/// use scalekit_outbox::{Consumer, MemorySink};
///
/// let sink = Arc::new(MemorySink::new(1024)); // give it to the relays, too
/// let mut workers = Workers::default();
/// workers.spawn(Arc::new(Consumer::of_memory(sink, handler)));
/// workers.drain(Duration::from_secs(5)).await;
/// # }
/// ```
pub struct Consumer {
    feed: Box<dyn Feed>,
    handler: Arc<dyn Handler>,
    concurrency: usize,
    limit: Duration,
    signals: Signals,
}

/// Where a consumer's events come from.
#[async_trait]
pub(crate) trait Feed: Send + Sync {
    /// Takes events and dispatches them until `cancel` fires and what is in work has ended.
    async fn run(&self, dispatch: Arc<Dispatch>, cancel: CancellationToken);
}

impl Consumer {
    /// A consumer of the events of this process's relays.
    pub fn of_memory(sink: Arc<MemorySink>, handler: Arc<dyn Handler>) -> Self {
        Self::of(Box::new(sink), handler)
    }

    /// How many events are handled at once (at least one); 16 unless said otherwise.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency.max(1);
        self
    }

    /// How long one call of the handler may take; 60 s unless said otherwise. One that takes longer is dropped
    /// where it waits, and the event comes again as after a transient error.
    #[must_use]
    pub fn with_handler_timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Reports how long each call of the handler takes, and how it ends.
    #[must_use]
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    pub(crate) fn of(feed: Box<dyn Feed>, handler: Arc<dyn Handler>) -> Self {
        let signals = Signals::default();
        Self { feed, handler, concurrency: CONCURRENCY, limit: HANDLER_LIMIT, signals }
    }
}

#[async_trait]
impl Worker for Consumer {
    fn name(&self) -> &'static str {
        "outbox consumer"
    }

    async fn run(&self, cancel: CancellationToken) {
        let dispatch = Dispatch::new(self, cancel.clone());
        self.feed.run(Arc::new(dispatch), cancel).await;
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("concurrency", &self.concurrency).finish_non_exhaustive()
    }
}
