//! The sink inside the process: a bounded queue that confirms what the consumer has committed.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use scalekit_core::{Error, ErrorKind};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

use crate::{Delivered, Lane, Poisoned, Record, Sink, SinkError, consumer::Verdict};

/// Hands events to a [`Consumer`](crate::Consumer) of the same process.
///
/// It confirms a batch when the handler is done with every event of it, so with an [`Inbox`](crate::Inbox) the
/// effect is committed before the event counts as sent: nothing is lost with the process. While no consumer
/// runs, or the queue is full, the relay waits. Batches of an owner that lost its lane are refused.
///
/// ```
/// let sink = std::sync::Arc::new(scalekit_outbox::MemorySink::new(1024));
/// ```
pub struct MemorySink {
    entry: mpsc::Sender<Parcel>,
    exit: AsyncMutex<mpsc::Receiver<Parcel>>,
    epochs: Mutex<HashMap<(String, u8), u64>>,
}

/// An event in the queue, and where its sender waits to hear of it.
pub(crate) struct Parcel {
    pub(crate) event: Delivered,
    pub(crate) verdict: oneshot::Sender<Verdict>,
}

impl MemorySink {
    /// A queue of at most `capacity` events (at least one).
    pub fn new(capacity: usize) -> Self {
        let (entry, exit) = mpsc::channel(capacity.max(1));
        Self { entry, exit: AsyncMutex::new(exit), epochs: Mutex::default() }
    }

    /// The end that a consumer reads; one at a time.
    pub(crate) fn exit(&self) -> &AsyncMutex<mpsc::Receiver<Parcel>> {
        &self.exit
    }

    /// Turns away an owner that lost the lane.
    fn admit(&self, lane: &Lane) -> Result<(), SinkError> {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = epochs.entry((lane.database().to_owned(), lane.number())).or_default();
        if lane.epoch() < *newest {
            return Err(SinkError::Fenced(Error::new(ErrorKind::Conflict, "the lane has a later owner")));
        }
        *newest = lane.epoch();
        Ok(())
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn publish(&self, lane: &Lane, batch: &[Record]) -> Result<(), SinkError> {
        let mut verdicts = Vec::with_capacity(batch.len());
        for record in batch {
            let place = self.entry.reserve().await.map_err(|_| stopped())?;
            self.admit(lane)?;
            let (verdict, heard) = oneshot::channel();
            place.send(Parcel { event: Delivered::new(lane, record.clone()), verdict });
            verdicts.push(heard);
        }
        let mut poisoned = Vec::new();
        for (index, heard) in verdicts.into_iter().enumerate() {
            match heard.await {
                Ok(Verdict::Done | Verdict::Behind) => {}
                Ok(Verdict::Parked { reason, retry }) => poisoned.push(Poisoned { index, reason, retry }),
                Ok(Verdict::Stopped) | Err(_) => return Err(stopped()),
            }
        }
        if poisoned.is_empty() { Ok(()) } else { Err(SinkError::Poison(poisoned)) }
    }
}

impl fmt::Debug for MemorySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySink").field("free", &self.entry.capacity()).finish_non_exhaustive()
    }
}

fn stopped() -> SinkError {
    SinkError::Unavailable(Error::new(ErrorKind::Unavailable, "the consumer of the memory sink stopped"))
}
