//! Feeding from Redis Streams: wait for entries, read them as the lane's owner, hand them on, acknowledge.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::streams::StreamReadReply;
use scalekit_core::{
    Result,
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
    lanes::{EntryId, Name, Owned, Tell},
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
/// The pause after a failure of Redis.
const FAILED_PAUSE: Duration = Duration::from_millis(250);

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
    entry: EntryId,
    event: Arc<Delivered>,
    verdict: Verdict,
}

type Waiting = Pin<Box<dyn Future<Output = (Dedicated, Result<Option<StreamReadReply>>)> + Send>>;

/// One run of a feed.
pub(super) struct Reader<'f> {
    pub(super) feed: &'f Feed,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) lanes: BTreeMap<Name, Owned>,
    pub(super) beat: Instant,
    pub(super) held: Instant,
    pub(super) tasks: JoinSet<Ended>,
    waiting: Option<Waiting>,
    idle: Option<Dedicated>,
    again: Instant,
    failing: bool,
}

impl<'f> Reader<'f> {
    fn new(feed: &'f Feed, dispatch: Arc<Dispatch>) -> Self {
        let now = Instant::now();
        Self {
            feed,
            dispatch,
            lanes: BTreeMap::new(),
            beat: now,
            held: now,
            tasks: JoinSet::new(),
            waiting: None,
            idle: Some(feed.streams.redis.dedicated()),
            again: now,
            failing: false,
        }
    }

    async fn until(mut self, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            let step = self.step().await;
            self.judge(step);
            self.wait_for_entries();
            let next = self.next();
            tokio::select! {
                () = cancel.cancelled() => {}
                () = sleep_until(next) => {}
                Some(ended) = self.tasks.join_next() => {
                    if let Ok(ended) = ended {
                        self.ended(ended).await;
                    }
                }
                (reader, found) = async {
                    match &mut self.waiting {
                        Some(waiting) => waiting.await,
                        None => std::future::pending().await,
                    }
                } => {
                    self.waiting = None;
                    self.idle = Some(reader);
                    let found = found.map(|found| self.woken(found));
                    self.judge(found);
                }
            }
        }
        self.stop().await;
    }

    async fn step(&mut self) -> Result<()> {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Ok(ended) = ended {
                self.ended(ended).await;
            }
        }
        if self.held < Instant::now() && !self.lanes.is_empty() {
            tracing::warn!("a consumer could not renew its lease in time: it lets go of its lanes");
            std::mem::take(&mut self.lanes).values().for_each(Owned::abandon);
        }
        if self.again > Instant::now() {
            return Ok(());
        }
        if self.beat <= Instant::now() {
            self.balance().await?;
        }
        self.acknowledge().await?;
        self.retry_due();
        self.read().await
    }

    /// Notes whether Redis answers; after a failure it is left alone for a moment.
    fn judge(&mut self, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !self.failing {
                    tracing::warn!(?error, "the consumer cannot read from redis now");
                }
                self.failing = true;
                self.again = Instant::now() + FAILED_PAUSE;
                // A reply that was lost may have held entries.
                self.lanes.values_mut().for_each(|lane| lane.history = Some(EntryId::ZERO));
            }
        }
    }

    fn next(&self) -> Instant {
        let due = self.lanes.values().filter_map(Owned::next_due).min();
        let mut next = due.map_or(self.beat, |due| due.min(self.beat));
        if self.feed.streams.redis.is_cluster() {
            next = next.min(Instant::now() + CLUSTER_POLL);
        }
        next.max(self.again)
    }

    pub(super) fn hand_over(&mut self, name: &Name, entry: EntryId, event: Arc<Delivered>) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let (delivery, lane_name) = (self.dispatch.deliver(Arc::clone(&event)), name.clone());
        let task = self.tasks.spawn(async move {
            let verdict = delivery.await;
            Ended { lane: lane_name, entry, event, verdict }
        });
        lane.in_work(entry, task);
    }

    fn retry_due(&mut self) {
        let mut due = Vec::new();
        for (name, lane) in &mut self.lanes {
            due.extend(lane.take_due().into_iter().map(|(entry, event)| (name.clone(), entry, event)));
        }
        for (name, entry, event) in due {
            self.hand_over(&name, entry, event);
        }
    }

    async fn ended(&mut self, Ended { lane: name, entry, event, verdict }: Ended) {
        let Some(lane) = self.lanes.get_mut(&name) else { return };
        let told = match lane.ended(entry, &event, verdict) {
            Tell::Nothing => Ok(()),
            Tell::Parked { reason, retry } => self.feed.streams.note(&event, &reason, retry).await,
            Tell::Unparked => self.feed.streams.forget(&[event.id()]).await,
        };
        if let Err(error) = told {
            tracing::warn!(?error, "the list of parked events is out of date");
        }
    }

    pub(super) async fn acknowledge(&mut self) -> Result<()> {
        for lane in self.lanes.values_mut().filter(|lane| !lane.acks().is_empty()) {
            let ids: Vec<String> = lane.acks().iter().map(EntryId::to_string).collect();
            let mut ack = cmd("XACK");
            ack.arg(&lane.stream).arg(&*self.feed.streams.group).arg(&ids);
            let _known: u64 = self.feed.streams.redis.query(&ack).await?;
            lane.acknowledged(ids.len());
        }
        Ok(())
    }

    /// Has Redis say when a lane has entries after the last one that was read; without effect on the group.
    fn wait_for_entries(&mut self) {
        let quiet = self.lanes.values().filter(|lane| !lane.ready && !lane.leaving);
        let (streams, last): (Vec<&str>, Vec<String>) =
            quiet.map(|lane| (lane.stream.as_str(), lane.last.to_string())).unzip();
        if self.waiting.is_some()
            || streams.is_empty()
            || self.again > Instant::now()
            || self.feed.streams.redis.is_cluster()
        {
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

    fn woken(&mut self, found: Option<StreamReadReply>) {
        for stream in found.into_iter().flat_map(|found| found.keys) {
            if let Some(lane) = self.lanes.values_mut().find(|lane| lane.stream == stream.key) {
                lane.ready = true;
            }
        }
    }

    /// Waits for what is in work, acknowledges it and lets go of all lanes.
    async fn stop(mut self) {
        self.waiting = None;
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok(ended) = ended {
                self.ended(ended).await;
            }
        }
        let acknowledged = self.acknowledge().await;
        if let Err(error) = acknowledged.and(self.leave().await) {
            tracing::warn!(
                ?error,
                "a consumer stopped without telling redis; its lanes stay its own for the lease"
            );
        }
    }
}
