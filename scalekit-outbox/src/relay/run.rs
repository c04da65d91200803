//! The relay's loop: lease, look, snapshot, read, send, acknowledge.

use std::{collections::HashMap, sync::Arc, time::Duration};

use scalekit_core::{Result, db::Pooler};
use tokio::{
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Relay,
    flight::{self, Air, Landed, Landing},
};
use crate::{Lane, OutboxDb, db};

/// The bounds of the pause between two looks that found nothing.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How soon after a look that found nothing a wake can bring the next: the commit may be under way still.
const WAKE_PAUSE: Duration = Duration::from_millis(5);
/// The pause after a failure of the database.
const FAILED_PAUSE: Duration = Duration::from_millis(250);
/// How long a lane rests whose sink disagrees, or whose sink panicked.
const REST: Duration = Duration::from_secs(5);
/// How often old events are looked for, and how soon again if there were some.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
const SWEEP_AGAIN: Duration = Duration::from_secs(1);
/// How long a stopping relay waits for batches under way.
const DRAIN: Duration = Duration::from_secs(4);

/// One run of a relay.
pub(super) struct Run<'r, D: OutboxDb> {
    relay: &'r Relay<D>,
    cancel: CancellationToken,
    air: Arc<Air>,
    flights: JoinSet<Landing>,
    lanes: Vec<(u8, i64)>,
    known: db::Known,
    busy: HashMap<u8, Flying>,
    resting: HashMap<u8, Instant>,
    landed: Vec<Landing>,
    pause: Duration,
    look: Instant,
    looked: Instant,
    beat: Instant,
    sweep: Instant,
    again: Instant,
}

/// A lane with a batch under way.
struct Flying {
    epoch: i64,
    task: AbortHandle,
}

impl<'r, D: OutboxDb> Run<'r, D> {
    pub(super) fn new(relay: &'r Relay<D>, cancel: CancellationToken) -> Self {
        let now = Instant::now();
        Self {
            relay,
            cancel,
            air: Arc::new(Air::new(Arc::clone(&relay.sink), relay.signals.clone())),
            flights: JoinSet::new(),
            lanes: Vec::new(),
            known: db::Known::default(),
            busy: HashMap::new(),
            resting: HashMap::new(),
            landed: Vec::new(),
            pause: SHORTEST_PAUSE,
            look: now,
            looked: now,
            beat: now,
            sweep: now + SWEEP_EVERY,
            again: now,
        }
    }

    pub(super) async fn until_cancelled(mut self) {
        let mut wakes = self.relay.waker.listen();
        let mut failing = false;
        while !self.cancel.is_cancelled() {
            match self.step().await {
                Ok(()) if self.again > Instant::now() => {}
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::warn!(database = %self.relay.database, ?error, "the relay cannot go on now");
                    }
                    failing = true;
                    self.again = Instant::now() + FAILED_PAUSE;
                }
            }
            let next = self.next();
            tokio::select! {
                () = self.cancel.cancelled() => {}
                () = sleep_until(next) => {}
                Ok(()) = wakes.changed(), if !failing => self.wake(),
                Some(ended) = self.flights.join_next_with_id() => self.touch_down(ended),
            }
        }
        self.stop().await;
    }

    async fn step(&mut self) -> Result<()> {
        while let Some(ended) = self.flights.try_join_next_with_id() {
            self.touch_down(ended);
        }
        if self.again > Instant::now() {
            return Ok(());
        }
        if self.beat <= Instant::now() {
            self.balance().await?;
        }
        if !self.landed.is_empty() {
            self.settle().await?;
        }
        if self.look <= Instant::now() && self.air.is_held() {
            self.look().await?;
        }
        if self.sweep <= Instant::now() {
            self.sweep().await;
        }
        Ok(())
    }

    /// Deletes what is old; that this fails must not keep events waiting, and neither of the two keep the other.
    async fn sweep(&mut self) {
        let who = self.who();
        let mut more = false;
        for (what, swept) in
            [("snapshots", self.relay.tidy(&who).await), ("events", self.relay.sweep(&who).await)]
        {
            match swept {
                Ok(rows) => more |= rows > 0,
                Err(error) => {
                    tracing::warn!(database = %self.relay.database, what, ?error, "what is old cannot be deleted now");
                }
            }
        }
        self.sweep = Instant::now() + if more { SWEEP_AGAIN } else { SWEEP_EVERY };
    }

    /// When there is something to do again by itself.
    fn next(&self) -> Instant {
        // Without the lease nothing is looked for.
        let next = if self.air.is_held() { self.look.min(self.beat) } else { self.beat };
        next.max(self.again)
    }

    /// Renews the lease; lets go of batches of lanes that others have taken.
    async fn balance(&mut self) -> Result<()> {
        let started = Instant::now();
        let held = self.relay.balance(&self.who()).await?;
        if held.moved {
            return self.rebase().await;
        }
        self.air.extend(started + self.relay.lease.mul_f64(0.8));
        // With less than its share it asks more often: another relay is about to let go of some.
        let wanting = (held.lanes.len() as i64) < held.fair;
        let again = self.relay.lease / 3;
        self.beat = started + if wanting { again.min(Duration::from_millis(500)) } else { again };
        if self.lanes != held.lanes {
            self.hurry();
        }
        self.busy.retain(|lane, flying| {
            let kept = held.lanes.contains(&(*lane, flying.epoch));
            if !kept {
                flying.task.abort();
            }
            kept
        });
        self.lanes = held.lanes;
        Ok(())
    }

    /// The database came here from another system: nothing is sent before its lanes stand on a tick of this one.
    async fn rebase(&mut self) -> Result<()> {
        let rebased = tokio::select! {
            // It may take minutes; the server ends it when it sees that nobody waits any more.
            () = self.cancel.cancelled() => return Ok(()),
            rebased = self.relay.rebased(false) => rebased?,
        };
        if let Some(events) = rebased {
            tracing::warn!(
                database = %self.relay.database,
                events,
                "the database was moved to another system: what is not known to be acknowledged is sent once more"
            );
        }
        self.beat = Instant::now();
        Ok(())
    }

    /// Looks for events, and sends them off.
    async fn look(&mut self) -> Result<()> {
        self.resting.retain(|_, until| *until > Instant::now());
        let who = self.who();
        let pending = self.relay.pending(&who).await?;
        self.looked = Instant::now();
        self.look = self.looked + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if !(pending.events || pending.parked) {
            return Ok(());
        }
        let tick = self.relay.tick(&who).await?;
        let batches = self.relay.read(&who, tick, &mut self.known).await?;
        if !batches.is_empty() {
            self.hurry();
        }
        for batch in batches {
            let lane = Lane::new(Arc::clone(&self.relay.database), batch.lane, batch.epoch.unsigned_abs());
            let (number, epoch) = (batch.lane, batch.epoch);
            let task = self.flights.spawn(Arc::clone(&self.air).fly(lane, batch));
            self.busy.insert(number, Flying { epoch, task });
        }
        Ok(())
    }

    /// A batch has come down, or its task was aborted or panicked.
    fn touch_down(&mut self, ended: Result<(Id, Landing), JoinError>) {
        match ended {
            Ok((id, landing)) => {
                let lane = landing.batch.lane;
                // Of a lane that was taken meanwhile nothing is to be acknowledged.
                if self.busy.get(&lane).is_some_and(|flying| flying.task.id() == id) {
                    self.landed.push(landing);
                }
            }
            Err(error) => {
                let lane = self.busy.iter().find(|(_, flying)| flying.task.id() == error.id());
                if let Some(lane) = lane.map(|(lane, _)| *lane) {
                    if error.is_panic() {
                        tracing::error!(lane, "the sink panicked");
                    }
                    self.rest(lane);
                }
            }
        }
    }

    /// Acknowledges what has come down.
    async fn settle(&mut self) -> Result<()> {
        let (mut acks, mut redriven, mut sent) = (Vec::new(), Vec::new(), 0);
        for Landing { batch, landed } in &self.landed {
            let Landed::Taken(poisoned) = landed else { continue };
            if batch.parked {
                redriven.push(flight::redriven(batch, poisoned));
            } else {
                acks.push(flight::ack(batch, poisoned));
            }
            sent += batch.rows.len() as u64;
        }
        let who = self.who();
        if !acks.is_empty() {
            self.relay.ack(&who, &acks).await?;
        }
        if !redriven.is_empty() {
            self.relay.redriven(&who, &redriven).await?;
        }
        self.relay.meter.count(sent);
        for landing in std::mem::take(&mut self.landed) {
            match landing.landed {
                Landed::Taken(_) | Landed::GivenUp => {
                    self.busy.remove(&landing.batch.lane);
                }
                Landed::Fenced => {
                    self.rest(landing.batch.lane);
                    self.beat = Instant::now();
                }
            }
        }
        self.hurry();
        Ok(())
    }

    fn rest(&mut self, lane: u8) {
        self.busy.remove(&lane);
        self.resting.insert(lane, Instant::now() + REST);
    }

    fn wake(&mut self) {
        self.pause = WAKE_PAUSE;
        self.look = self.look.min(self.looked + WAKE_PAUSE);
    }

    fn hurry(&mut self) {
        self.pause = SHORTEST_PAUSE;
        self.look = Instant::now();
    }

    fn who(&self) -> db::Who {
        let busy = self.busy.keys().chain(self.resting.keys()).copied().collect();
        db::Who { relay: self.relay.id, lease: self.relay.lease, busy, pooler: Pooler::Direct }
    }

    /// Waits for batches under way, acknowledges them and lets go of all lanes.
    async fn stop(mut self) {
        self.air.cancel.cancel();
        let deadline = Instant::now() + DRAIN;
        while let Ok(Some(ended)) = timeout_at(deadline, self.flights.join_next_with_id()).await {
            self.touch_down(ended);
        }
        self.flights.abort_all();
        let settled = if self.landed.is_empty() { Ok(()) } else { self.settle().await };
        let released = match settled {
            Ok(()) => self.relay.release(&self.who()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = released {
            tracing::warn!(
                ?error,
                "a relay stopped without letting go of its lanes; they stay its own for the lease"
            );
        }
    }
}
