//! Feeding from Redis Streams: wait for entries, read them as the lane's owner, hand them on, acknowledge.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use redis::streams::StreamReadReply;
use scalekit_core::{
    Error, Result,
    redis::{Dedicated, cmd},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    RedisStreams,
    entry::EntryId,
    lanes::{Name, Owned, Turn},
};
use crate::{
    Delivered,
    consumer::{self, Dispatch, Verdict},
};

/// How long one wait for entries lasts in Redis, and what is added for the way.
const BLOCK: Duration = Duration::from_millis(1000);
const ON_THE_WAY: Duration = Duration::from_millis(1000);
/// How often a Cluster is asked, whose streams cannot be waited for together.
const CLUSTER_POLL: Duration = Duration::from_millis(100);
/// Most events that the handler has or that are to be tried again soon; beyond it no lane is read.
const IN_WORK: usize = 1024;

/// The feed of one consumer.
pub(super) struct Feed {
    pub(super) streams: RedisStreams,
    pub(super) id: String,
}

impl Feed {
    pub(super) fn new(streams: RedisStreams, id: Uuid) -> Self {
        Self { streams, id: id.to_string() }
    }
}

#[async_trait]
impl consumer::Feed for Feed {
    async fn run(&self, dispatch: Arc<Dispatch>, cancel: CancellationToken) {
        Reader::new(self, dispatch).until(cancel).await;
    }
}

/// An event that has left the handler.
pub(super) struct Ended {
    lane: Name,
    term: u64,
    entry: EntryId,
    event: Arc<Delivered>,
    verdict: Verdict,
}

type Waiting = Pin<Box<dyn Future<Output = (Dedicated, Result<Option<StreamReadReply>>)> + Send>>;

/// One run of a feed. A lane whose Redis does not answer keeps none of the others waiting.
pub(super) struct Reader<'f> {
    pub(super) feed: &'f Feed,
    pub(super) lanes: BTreeMap<Name, Owned>,
    pub(super) beat: Instant,
    /// When a Cluster is asked again.
    poll: Instant,
    pub(super) terms: u64,
    dispatch: Arc<Dispatch>,
    tasks: JoinSet<Ended>,
    waiting: Option<Waiting>,
    idle: Option<Dedicated>,
    failing: bool,
}

impl<'f> Reader<'f> {
    fn new(feed: &'f Feed, dispatch: Arc<Dispatch>) -> Self {
        Self {
            feed,
            lanes: BTreeMap::new(),
            beat: Instant::now(),
            poll: Instant::now(),
            terms: 0,
            dispatch,
            tasks: JoinSet::new(),
            waiting: None,
            idle: Some(feed.streams.redis.dedicated()),
            failing: false,
        }
    }

    async fn until(mut self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            self.step().await;
            self.wait_for_entries();
            let next = self.next();
            tokio::select! {
                () = cancel.cancelled() => {}
                () = sleep_until(next) => {}
                Some(ended) = self.tasks.join_next() => self.ended(ended.ok()),
                (reader, found) = async {
                    match &mut self.waiting {
                        Some(waiting) => waiting.await,
                        None => std::future::pending().await,
                    }
                } => {
                    self.waiting = None;
                    self.idle = Some(reader);
                    self.woken(found);
                }
            }
        }
        self.stop().await;
    }

    async fn step(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            self.ended(ended.ok());
        }
        self.let_go();
        if self.beat <= Instant::now() {
            self.balance().await;
        }
        if self.feed.streams.redis.is_cluster() && self.poll <= Instant::now() {
            self.poll = Instant::now() + CLUSTER_POLL;
            self.lanes.values_mut().for_each(|lane| lane.ready = true);
        }
        self.serve().await;
    }

    /// Does what the lanes have to do, all of them at once.
    async fn serve(&mut self) {
        let (feed, room) = (self.feed, self.has_room());
        let at_work =
            self.lanes.iter_mut().filter(|(_, lane)| lane.may_try()).map(|(name, lane)| async move {
                lane.resume_due();
                let mut turns = Vec::new();
                let served = feed.serve(name, lane, room, &mut turns).await;
                (name.clone(), turns, served)
            });
        for (name, turns, served) in join_all(at_work).await {
            match served {
                Ok(true) => {
                    turns.into_iter().for_each(|turn| self.hand_over(&name, turn));
                }
                Ok(false) => self.lose(&name),
                Err(error) => {
                    turns.into_iter().for_each(|turn| self.hand_over(&name, turn));
                    self.failed(&name, error);
                }
            }
        }
    }

    pub(super) fn lose(&mut self, name: &Name) {
        if let Some(lane) = self.lanes.remove(name) {
            tracing::warn!(lane = name.1, database = %name.0, "a lane of the consumer is another's");
            lane.abandon();
        }
    }

    pub(super) fn failed(&mut self, name: &Name, error: Error) {
        if let Some(lane) = self.lanes.get_mut(name) {
            lane.fail();
        }
        self.warn(error);
    }

    /// Says once that Redis does not answer.
    pub(super) fn warn(&mut self, error: Error) {
        if !self.failing {
            tracing::warn!(?error, "the consumer cannot go on with all of its lanes now");
        }
        self.failing = true;
    }

    pub(super) fn recovered(&mut self) {
        self.failing = false;
    }

    /// Lets go of lanes that may be another's by now.
    fn let_go(&mut self) {
        for (name, lane) in self.lanes.extract_if(.., |_, lane| lane.lease.has_run_out()) {
            tracing::warn!(lane = name.1, database = %name.0, "a consumer could not renew the lease of a lane in time");
            lane.abandon();
        }
    }

    fn next(&self) -> Instant {
        let room = self.has_room();
        let due = self.lanes.values().filter_map(|lane| lane.next_due(room)).min();
        let next = due.map_or(self.beat, |due| due.min(self.beat));
        if self.feed.streams.redis.is_cluster() { next.min(self.poll) } else { next }
    }

    fn has_room(&self) -> bool {
        self.tasks.len() < IN_WORK
    }

    fn hand_over(&mut self, name: &Name, Turn { entry, event }: Turn) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let delivery = self.dispatch.deliver(Arc::clone(&event), lane.lease.clone());
        let (term, lane_name) = (lane.term, name.clone());
        let task = self.tasks.spawn(async move {
            let verdict = delivery.await;
            Ended { lane: lane_name, term, entry, event, verdict }
        });
        lane.in_work(entry, task);
    }

    fn ended(&mut self, ended: Option<Ended>) {
        // None of a lane that was let go of, whose tasks are aborted.
        let Some(Ended { lane: name, term, entry, event, verdict }) = ended else { return };
        let Some(lane) = self.lanes.get_mut(&name).filter(|lane| lane.term == term) else { return };
        let next = lane.ended(entry, &event, verdict);
        if let Some(next) = next {
            self.hand_over(&name, next);
        }
    }

    /// Has Redis say when a lane has entries after the last one that was read; without effect on the group.
    fn wait_for_entries(&mut self) {
        let room = self.has_room();
        let quiet = self.lanes.values().filter(|lane| lane.may_wait(room));
        let (streams, last): (Vec<&str>, Vec<String>) =
            quiet.map(|lane| (lane.stream.as_str(), lane.last.to_string())).unzip();
        if self.waiting.is_some() || streams.is_empty() || self.feed.streams.redis.is_cluster() {
            return;
        }
        let Some(mut reader) = self.idle.take() else { return };
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(1).arg("BLOCK").arg(BLOCK.as_millis() as u64);
        read.arg("STREAMS").arg(streams).arg(last);
        self.waiting = Some(Box::pin(async move {
            let found = reader.query(&read, BLOCK + ON_THE_WAY).await;
            (reader, found)
        }));
    }

    fn woken(&mut self, found: Result<Option<StreamReadReply>>) {
        match found {
            Ok(found) => {
                for stream in found.into_iter().flat_map(|found| found.keys) {
                    if let Some(lane) = self.lanes.values_mut().find(|lane| lane.stream == stream.key) {
                        lane.ready = true;
                    }
                }
            }
            Err(error) => {
                // A pause for all: they are one server's.
                self.lanes.values_mut().for_each(Owned::fail);
                self.warn(error);
            }
        }
    }

    /// Waits for what is in work and keeps its lanes meanwhile; acknowledges it and lets go of all lanes.
    async fn stop(mut self) {
        self.waiting = None;
        while !self.tasks.is_empty() {
            tokio::select! {
                Some(ended) = self.tasks.join_next() => self.ended(ended.ok()),
                () = sleep_until(self.beat) => {
                    self.renew().await;
                }
            }
            self.let_go();
        }
        self.lanes.values_mut().for_each(|lane| lane.leaving = true);
        self.serve().await;
        if let Err(error) = self.leave().await {
            tracing::warn!(
                ?error,
                "a consumer stopped without telling redis; its lanes stay its own for the lease"
            );
        }
    }
}
