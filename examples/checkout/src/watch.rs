//! A look at the outboxes once a second, so that a page view asks no database.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use scalekit::{
    Error, ErrorKind, Result, Worker,
    outbox::{Lag, Parked, RedisStreams, Relay},
};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{carriers::Carriers, db::Db};

/// How often it looks, and how many parked events it names.
const EVERY: Duration = Duration::from_secs(1);
const PARKED: u16 = 20;

/// What was last seen of one database's outbox.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) name: String,
    /// `None` until it has been asked, and while it cannot be.
    pub(crate) lag: Option<Lag>,
    pub(crate) parked: Vec<Parked>,
    pub(crate) error: Option<String>,
}

/// The watcher of one pod.
pub(crate) struct Watch {
    relays: Vec<Arc<Relay<Db>>>,
    streams: Option<RedisStreams>,
    state: Mutex<State>,
    redriving: Semaphore,
}

#[derive(Default)]
struct State {
    databases: Vec<Seen>,
    /// What the consumers set aside, where events pass through Redis.
    parked: Vec<Parked>,
}

impl Watch {
    pub(crate) fn new(carriers: &Carriers) -> Self {
        let (relays, streams) = (carriers.relays.clone(), carriers.streams.clone());
        let unseen = |relay: &Arc<Relay<Db>>| Seen {
            name: relay.database().to_owned(),
            lag: None,
            parked: Vec::new(),
            error: None,
        };
        let databases = relays.iter().map(unseen).collect();
        let state = Mutex::new(State { databases, ..State::default() });
        Self { relays, streams, state, redriving: Semaphore::new(1) }
    }

    /// The outboxes as last seen.
    pub(crate) fn databases(&self) -> Vec<Seen> {
        self.lock().databases.clone()
    }

    /// What was set aside, with the place where it waits.
    pub(crate) fn parked(&self) -> Vec<(String, Parked)> {
        let state = self.lock();
        let relays = state.databases.iter();
        let relays = relays.flat_map(|seen| seen.parked.iter().map(|one| (seen.name.clone(), one.clone())));
        relays.chain(state.parked.iter().map(|one| ("redis".to_owned(), one.clone()))).collect()
    }

    /// Has a parked event handled again, wherever it waits; `false` if it waits nowhere.
    ///
    /// # Errors
    /// The failure of a place that may have it, if no other one has; that another call is at it, since all share the
    /// few connections of the relays.
    pub(crate) async fn redrive(&self, event: Uuid) -> Result<bool> {
        let Ok(_alone) = self.redriving.try_acquire() else {
            let busy = Error::new(ErrorKind::Unavailable, "another event is being redriven");
            return Err(busy.with_retry_after(Duration::from_secs(1)));
        };
        let mut failed = None;
        for relay in &self.relays {
            match relay.redrive(event).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => failed = Some(error),
            }
        }
        let found = match &self.streams {
            Some(streams) => streams.redrive(event).await?,
            None => false,
        };
        failed.filter(|_| !found).map_or(Ok(found), Err)
    }

    async fn look(&self) {
        for (index, relay) in self.relays.iter().enumerate() {
            let lag = relay.lag().await;
            let parked = relay.parked(PARKED).await.unwrap_or_default();
            let mut state = self.lock();
            let seen = &mut state.databases[index];
            seen.error = lag.as_ref().err().map(ToString::to_string);
            seen.lag = lag.ok();
            seen.parked = parked;
        }
        let parked = match &self.streams {
            Some(streams) => streams.parked(PARKED).await.unwrap_or_default(),
            None => Vec::new(),
        };
        self.lock().parked = parked;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Worker for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    async fn run(&self, cancel: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = cancel.cancelled() => return,
            }
            tokio::select! {
                () = self.look() => {}
                () = cancel.cancelled() => return,
            }
        }
    }
}
