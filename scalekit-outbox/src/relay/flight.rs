//! One batch on its way to the sink: sent until it is taken, and what became of it.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use scalekit_core::{Hop, Signals};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Lane, Poisoned, Record, Sink, SinkError,
    consumer::Backoff,
    db::{Ack, Aside, Batch, Redriven},
};

/// The bounds of the pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The bounds of the pause before a parked event is tried again, in seconds.
const RETRY: Duration = Duration::from_secs(4);

/// What the batches of a relay share.
pub(super) struct Air {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) cancel: CancellationToken,
    signals: Signals,
    lease: Mutex<Instant>,
    down: AtomicBool,
}

/// A batch that came down, and how.
pub(super) struct Landing {
    pub(super) batch: Batch,
    pub(super) landed: Landed,
}

/// How a batch came down.
pub(super) enum Landed {
    /// The sink took it, but for these, whose index is that of the batch's rows.
    Taken(Vec<Poisoned>),
    /// The sink has a later owner's events.
    Fenced,
    /// The relay stops, or its lease has run out.
    GivenUp,
}

impl Air {
    pub(super) fn new(sink: Arc<dyn Sink>, signals: Signals) -> Self {
        let (cancel, lease) = (CancellationToken::new(), Mutex::new(Instant::now()));
        Self { sink, cancel, signals, lease, down: AtomicBool::new(false) }
    }

    /// Until then nobody else can have taken the lanes.
    pub(super) fn extend(&self, until: Instant) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    pub(super) fn is_held(&self) -> bool {
        Instant::now() < *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a batch until the sink has taken it.
    pub(super) async fn fly(self: Arc<Self>, lane: Lane, batch: Batch) -> Landing {
        let landed = self.send(&lane, &batch).await;
        Landing { batch, landed }
    }

    async fn send(&self, lane: &Lane, batch: &Batch) -> Landed {
        let (places, records): (Vec<usize>, Vec<Record>) = (0..)
            .zip(&batch.rows)
            .filter(|(_, row)| !row.behind)
            .map(|(place, row)| (place, row.record.clone()))
            .unzip();
        if records.is_empty() {
            return Landed::Taken(Vec::new());
        }
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            if !self.is_held() {
                return Landed::GivenUp;
            }
            let timing = self.signals.start(Hop::Queue, "outbox_publish");
            let published = self.sink.publish(lane, &records).await;
            timing.end(match &published {
                Ok(()) | Err(SinkError::Poison(_)) => "ok",
                Err(SinkError::Fenced(_) | SinkError::Unavailable(_)) => "error",
            });
            let error = match published {
                Ok(()) => {
                    self.up();
                    return Landed::Taken(Vec::new());
                }
                Err(SinkError::Poison(poisoned)) => {
                    self.up();
                    let at_row = |poisoned: Poisoned| {
                        places.get(poisoned.index).map(|place| Poisoned { index: *place, ..poisoned })
                    };
                    return Landed::Taken(poisoned.into_iter().filter_map(at_row).collect());
                }
                Err(SinkError::Fenced(error)) => {
                    tracing::error!(lane = lane.number(), database = lane.database(), ?error, "a lane stops");
                    return Landed::Fenced;
                }
                Err(SinkError::Unavailable(error)) => error,
            };
            if !self.down.swap(true, Ordering::Relaxed) && !self.cancel.is_cancelled() {
                tracing::warn!(?error, "the sink of the outbox is down; events wait");
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = self.cancel.cancelled() => return Landed::GivenUp,
            }
        }
    }

    fn up(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("the sink of the outbox is up again");
        }
    }
}

/// The acknowledgement of a batch: what was refused is set aside, and with it what is behind it.
pub(super) fn ack(batch: &Batch, poisoned: &[Poisoned]) -> Ack {
    let mut aside = Vec::new();
    let mut keys = HashSet::new();
    for (place, row) in (0..).zip(&batch.rows) {
        let refused = poisoned.iter().find(|poisoned| poisoned.index == place);
        if !row.behind && !keys.contains(row.record.key.as_str()) {
            let Some(refused) = refused else { continue };
            keys.insert(row.record.key.as_str());
            tracing::error!(
                lane = batch.lane,
                kind = row.record.kind,
                reason = refused.reason,
                "an event is parked"
            );
            aside.push(set_aside(row, Some(refused)));
        } else {
            aside.push(set_aside(row, None));
        }
    }
    Ack { lane: batch.lane, epoch: batch.epoch, seq: batch.upto, closed: !batch.more, aside }
}

/// What became of a batch of parked events.
pub(super) fn redriven(batch: &Batch, poisoned: &[Poisoned]) -> Redriven {
    let mut out = Redriven { lane: batch.lane, epoch: batch.epoch, sent: Vec::new(), refused: Vec::new() };
    let mut keys = HashSet::new();
    for (place, row) in (0..).zip(&batch.rows) {
        if keys.contains(row.record.key.as_str()) {
            continue;
        }
        match poisoned.iter().find(|poisoned| poisoned.index == place) {
            None => out.sent.push(row.place),
            Some(refused) => {
                keys.insert(row.record.key.as_str());
                out.refused.push(set_aside(row, Some(refused)));
            }
        }
    }
    out
}

fn set_aside(row: &crate::db::Row, refused: Option<&Poisoned>) -> Aside {
    let retry = refused.filter(|refused| refused.retry).map(|_| Backoff::new(RETRY, RETRY).pause());
    Aside {
        tick: row.place.0,
        seq: row.place.1,
        xid: row.xid.clone(),
        reason: refused.map(|refused| refused.reason.chars().take(REASON).collect()),
        retry: retry.map(|pause| pause.as_secs_f64()),
    }
}

/// Longest reason that is kept, in characters.
const REASON: usize = 500;
