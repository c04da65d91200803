//! The sink inside the process: a bounded queue that confirms what the consumer has committed.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use scalekit_core::{Error, ErrorKind};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard, mpsc, oneshot};

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
    /// How many consumers have ended.
    ended: AtomicU64,
    epochs: Mutex<HashMap<(String, u8), u64>>,
}

/// An event in the queue, and where its sender waits to hear of it.
pub(crate) struct Parcel {
    pub(crate) event: Arc<Delivered>,
    verdict: oneshot::Sender<Said>,
    batch: Arc<Shipment>,
}

/// What became of a parcel.
enum Said {
    Verdict(Verdict),
    /// An earlier event of its batch and key is to be set aside: the relay does so with this one, too.
    Behind,
}

/// What the parcels of one batch share: they are handled from the first on, by one consumer, or not at all.
#[derive(Debug, Default)]
struct Shipment {
    /// How many consumers had ended when it began.
    ended: u64,
    given_up: AtomicBool,
    /// Keys of which an event is to be set aside. They stay so for the whole batch: only when the relay has written
    /// that down does it send later events of them.
    aside: Mutex<HashSet<String>>,
}

/// Gives a batch up when its sender goes away; all of it at one moment.
struct Sender(Arc<Shipment>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.given_up.store(true, Ordering::SeqCst);
    }
}

impl Parcel {
    /// Whether the handler is to have it: its sender still waits, and no earlier one of its key was set aside.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.batch.given_up.load(Ordering::SeqCst) && !self.batch.aside().contains(self.event.key())
    }

    pub(crate) fn tell(self, verdict: Verdict) {
        if matches!(verdict, Verdict::Parked { .. }) {
            self.batch.aside().insert(self.event.key().to_owned());
        }
        let _sender_gone = self.verdict.send(Said::Verdict(verdict));
    }

    /// Leaves it unhandled, as it is not wanted.
    pub(crate) fn pass_over(self) {
        let _sender_gone = self.verdict.send(Said::Behind);
    }
}

impl Shipment {
    fn aside(&self) -> MutexGuard<'_, HashSet<String>> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the queue that a consumer reads.
pub(crate) struct Exit<'s> {
    sink: &'s MemorySink,
    queue: AsyncGuard<'s, mpsc::Receiver<Parcel>>,
}

impl MemorySink {
    /// A queue of at most `capacity` events (at least one).
    pub fn new(capacity: usize) -> Self {
        let (entry, exit) = mpsc::channel(capacity.max(1));
        Self { entry, exit: AsyncMutex::new(exit), ended: AtomicU64::new(0), epochs: Mutex::default() }
    }

    /// The end that a consumer reads; one at a time.
    pub(crate) async fn exit(&self) -> Exit<'_> {
        Exit { sink: self, queue: self.exit.lock().await }
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

impl Exit<'_> {
    /// The next event that is to be handled here.
    pub(crate) async fn recv(&mut self) -> Option<Parcel> {
        loop {
            let parcel = self.queue.recv().await?;
            // The first events of a batch that began before an earlier consumer ended may have gone with that one,
            // and those of one that was given up come again: handling the rest would put it before them.
            let ended = self.sink.ended.load(Ordering::SeqCst);
            if parcel.batch.ended == ended && !parcel.batch.given_up.load(Ordering::SeqCst) {
                return Some(parcel);
            }
        }
    }
}

impl Drop for Exit<'_> {
    fn drop(&mut self) {
        self.sink.ended.fetch_add(1, Ordering::SeqCst);
        // Their senders must not wait for a consumer that has gone.
        while self.queue.try_recv().is_ok() {}
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn publish(&self, lane: &Lane, batch: &[Record]) -> Result<(), SinkError> {
        let ended = self.ended.load(Ordering::SeqCst);
        let shipment = Arc::new(Shipment { ended, ..Shipment::default() });
        let mut verdicts = Vec::with_capacity(batch.len());
        // Declared after the verdicts, so that it is dropped before them.
        let _sender = Sender(Arc::clone(&shipment));
        for record in batch {
            let place = self.entry.reserve().await.map_err(|_| stopped())?;
            self.admit(lane)?;
            let (verdict, heard) = oneshot::channel();
            place.send(Parcel {
                event: Arc::new(Delivered::new(lane, record.clone())),
                verdict,
                batch: Arc::clone(&shipment),
            });
            verdicts.push(heard);
        }
        let mut poisoned = Vec::new();
        for (index, heard) in verdicts.into_iter().enumerate() {
            match heard.await {
                Ok(Said::Verdict(Verdict::Done) | Said::Behind) => {}
                Ok(Said::Verdict(Verdict::Parked { reason, retry })) => {
                    poisoned.push(Poisoned { index, reason, retry });
                }
                Ok(Said::Verdict(Verdict::Stopped)) | Err(_) => return Err(stopped()),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::LogPosition;

    fn batch() -> Vec<Record> {
        let record = |number: u64| Record {
            id: uuid::Uuid::now_v7(),
            kind: "test".into(),
            source: "s".into(),
            key: "a".into(),
            time: String::new(),
            content_type: "application/json".into(),
            traceparent: None,
            headers: Default::default(),
            data: number.to_string().into(),
            position: LogPosition::new(0, 0, number),
        };
        (0..10).map(record).collect()
    }

    #[tokio::test]
    async fn the_rest_of_a_batch_does_not_go_to_another_consumer_than_its_beginning() {
        let sink = Arc::new(MemorySink::new(2));
        let send = || {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move { sink.publish(&Lane::new("east", 0, 1), &batch()).await })
        };
        let sent = send();
        let mut first = sink.exit().await;
        let begun = [first.recv().await.unwrap(), first.recv().await.unwrap()];
        drop(first);
        let mut second = sink.exit().await;
        let rest = tokio::time::timeout(Duration::from_millis(100), second.recv()).await;
        assert!(rest.is_err(), "got {:?}", rest.unwrap().unwrap().event.data());
        drop(begun);
        assert!(matches!(sent.await.unwrap(), Err(SinkError::Unavailable(_))));
        let again = send();
        for expected in 0..10 {
            let parcel = second.recv().await.unwrap();
            assert_eq!(parcel.event.json::<u64>().unwrap(), expected);
            parcel.tell(Verdict::Done);
        }
        assert!(again.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_its_sender_gave_up_is_not_handled() {
        let sink = Arc::new(MemorySink::new(20));
        let (lane, batch) = (Lane::new("east", 0, 1), batch());
        let publish = sink.publish(&lane, &batch);
        assert!(tokio::time::timeout(Duration::from_millis(20), publish).await.is_err());
        let mut exit = sink.exit().await;
        assert!(tokio::time::timeout(Duration::from_millis(50), exit.recv()).await.is_err());
    }
}
