//! What carries events from each database to the consumer that takes the money.

use std::{sync::Arc, time::Duration};

use scalekit::{
    Result, Worker, Workers,
    db::{ClaimSweeper, TxSource},
    outbox::{Consumer, Inbox, MemorySink, RedisSink, RedisStreams, Relay, Sink},
    redis::{Redis, RedisConfig},
    shard::Topology,
    slo::Slo,
};

use crate::{db::Db, events::Cashier, objectives, payments::Payments, settings::Events, shared::Shared};

/// How many events may wait for the consumer of this pod, where they stay in the process.
const QUEUE: usize = 1024;
/// How long Redis may take for a batch of events; a session's commands are smaller and have less.
const BATCH_WITHIN: Duration = Duration::from_secs(1);
/// What the streams and their readers are called.
const NAMESPACE: &str = "checkout";
const GROUP: &str = "payments";

/// The relays, the consumer and the sweeper of one pod.
pub(crate) struct Carriers {
    pub(crate) relays: Vec<Arc<Relay<Db>>>,
    pub(crate) streams: Option<RedisStreams>,
    consumer: Consumer,
    sweeper: ClaimSweeper<Db>,
}

impl Carriers {
    /// Puts them together; nothing runs yet.
    pub(crate) fn new(shared: &Shared, topology: Topology<Db>, slo: &Slo) -> Result<Self> {
        let cashier = Arc::new(Cashier {
            ring: shared.ring.clone(),
            payments: Payments::new(&shared.payments)?,
            topology: topology.clone(),
            outbox: shared.outbox.clone(),
            inbox: Inbox::new(),
            paid: slo.step(objectives::PAID)?,
        });
        let (sink, consumer, streams): (Arc<dyn Sink>, _, _) = match shared.settings.events {
            Events::Memory => {
                let sink = Arc::new(MemorySink::new(QUEUE));
                (Arc::clone(&sink) as _, Consumer::of_memory(sink, cashier), None)
            }
            Events::Redis => {
                let config = RedisConfig::default().with_io_budget(BATCH_WITHIN);
                let redis = Redis::open_with(&shared.settings.redis, config)?;
                let databases: Vec<_> = topology.databases().map(|shard| shard.name()).collect();
                let streams = RedisStreams::new(redis.clone(), NAMESPACE, GROUP, &databases)?;
                let consumer = Consumer::of_redis(streams.clone(), cashier);
                (Arc::new(RedisSink::new(redis, NAMESPACE)?), consumer, Some(streams))
            }
        };
        let relay = |shard: &scalekit::shard::Shard<Db>| {
            let relay = Relay::new(shard.name(), Arc::new(shard.clone()), Arc::clone(&sink))?;
            Ok(Arc::new(relay.with_outbox(&shared.outbox).with_signals(slo.signals())))
        };
        let relays = topology.databases().map(relay).collect::<Result<_>>()?;
        let databases = topology.databases().map(|shard| Arc::new(shard.clone()) as Arc<dyn TxSource<Db>>);
        let consumer = consumer.with_signals(slo.signals());
        Ok(Self { relays, streams, consumer, sweeper: ClaimSweeper::new(databases) })
    }

    /// Runs them.
    pub(crate) fn spawn(self, workers: &mut Workers) {
        for relay in self.relays {
            workers.spawn(relay as Arc<dyn Worker>);
        }
        workers.spawn(Arc::new(self.consumer));
        workers.spawn(Arc::new(self.sweeper));
    }
}
