//! A consumer of Redis Streams under strain: keys that are stuck, servers that are gone, handlers that do not end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::streams::StreamRangeReply;
use scalekit_core::{
    Workers,
    db::Sqlite,
    redis::{Redis, cmd, pipe},
};
use scalekit_outbox::{Consumer, Delivered, Handler, Outcome, RedisSink, RedisStreams, lane_of};
use scalekit_testkit::{RedisServer, seed, wait_until};
use support::{
    Kind, Mortal, SOON, Site,
    handler::{Act, Diary},
};
use tokio::sync::Notify;

const LONG: Duration = Duration::from_secs(40);

fn open(server: &RedisServer) -> Redis {
    Redis::open(&server.url()).unwrap()
}

fn streams(server: &RedisServer) -> RedisStreams {
    RedisStreams::new(open(server), "shop", "pay", &["east"]).unwrap()
}

fn relay(server: &RedisServer, site: &Site<Sqlite>) -> Workers {
    site.run(Arc::new(RedisSink::new(open(server), "shop").unwrap())).1
}

fn stream(key: &str) -> String {
    format!("shop:e:{{east.{}}}", lane_of(key))
}

/// How many entries the group was given and has not acknowledged.
async fn pending(redis: &Redis, key: &str) -> u64 {
    let (pending, _, _, _): (u64, redis::Value, redis::Value, redis::Value) =
        redis.query(cmd("XPENDING").arg(stream(key)).arg("pay")).await.unwrap();
    pending
}

/// Another key of the same lane.
fn neighbour(of: &str) -> String {
    (0..).map(|n| format!("n{n}")).find(|key| lane_of(key) == lane_of(of)).unwrap()
}

/// Parks the first event of each key without a pause of its own, and remembers who came past it.
#[derive(Default)]
struct Gate(Diary);

#[async_trait]
impl Handler for Gate {
    async fn handle(&self, event: &Delivered) -> scalekit_core::Result<Outcome> {
        if event.json::<u64>()? == 0 {
            return Ok(Outcome::Park { reason: "not now".into(), retry: false });
        }
        self.0.handle(event).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_passes_an_event_that_was_just_parked() {
    let server = scalekit_testkit::Redis::start().await;
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let gate = Arc::new(Gate::default());
    let _consumer = Mortal::run(Arc::new(Consumer::of_redis(streams(&server), gate.clone())));
    let keys: Vec<String> = (0..60).map(|n| format!("k{n}")).collect();
    // Each round in a transaction of its own, so that events arrive while those before them are being parked.
    for number in 0..8 {
        for key in &keys {
            site.append(key, [number]).await;
        }
    }
    let list = streams(&server);
    wait_until("all first ones are parked", SOON, async || {
        list.parked(100).await.unwrap().len() == keys.len()
    })
    .await;
    let redis = open(&server);
    wait_until("all have arrived", SOON, async || {
        let lanes: BTreeMap<u8, &String> = keys.iter().map(|key| (lane_of(key), key)).collect();
        let mut sum = 0;
        for key in lanes.values() {
            sum += pending(&redis, key).await;
        }
        sum == 8 * keys.len() as u64
    })
    .await;
    assert!(gate.0.all().is_empty(), "came past a parked one: {:?}", gate.0.all());
}

#[tokio::test]
async fn thousands_behind_a_stuck_event_hold_up_no_other_key_and_come_in_order() {
    const BEHIND: u64 = 3000;
    let server = scalekit_testkit::Redis::start().await;
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let diary = Arc::new(Diary::default());
    diary.on("stuck", 0, Act::Park { retry: false });
    diary.on("slow", 0, Act::Fail(u32::MAX));
    let _consumer = Mortal::run(Arc::new(Consumer::of_redis(streams(&server), diary.clone())));
    let (list, redis) = (streams(&server), open(&server));
    let beside = neighbour("stuck");
    for chunk in 0..BEHIND / 100 {
        site.append("stuck", chunk * 100..chunk * 100 + 100).await;
        site.append("slow", chunk * 100..chunk * 100 + 100).await;
    }
    site.append(&beside, 0..10).await;
    wait_until("the key beside it passes", LONG, async || diary.of(&beside).len() == 10).await;
    wait_until("all wait", LONG, async || {
        pending(&redis, "stuck").await == BEHIND && pending(&redis, "slow").await == BEHIND
    })
    .await;
    assert!(diary.of("stuck").is_empty() && diary.of("slow").is_empty());
    diary.forgive();
    let parked = list.parked(10).await.unwrap();
    assert_eq!(parked.len(), 1, "only the first of a key is on the list");
    assert!(list.redrive(parked[0].id).await.unwrap());
    for key in ["stuck", "slow"] {
        wait_until("the key is through", LONG, async || diary.of(key).len() >= BEHIND as usize).await;
        assert!(diary.of(key).into_iter().eq(0..BEHIND), "{key}");
        wait_until("all is acknowledged", SOON, async || pending(&redis, key).await == 0).await;
    }
}

#[tokio::test]
async fn an_entry_that_was_deleted_keeps_nobody_waiting() {
    let server = scalekit_testkit::Redis::start().await;
    let (site, redis) = (Sqlite::site().await, open(&server));
    let _relay = relay(&server, &site);
    let diary = Arc::new(Diary::default());
    diary.on("a", 0, Act::Park { retry: false });
    let consumer = Mortal::run(Arc::new(Consumer::of_redis(streams(&server), diary.clone())));
    site.append("a", 0..6).await;
    wait_until("the first is parked", SOON, async || streams(&server).parked(9).await.unwrap().len() == 1)
        .await;
    wait_until("the others wait", SOON, async || pending(&redis, "a").await == 6).await;
    let entries: StreamRangeReply =
        redis.query(cmd("XRANGE").arg(stream("a")).arg("-").arg("+")).await.unwrap();
    let delete = async |number: usize| {
        let deleted: u64 =
            redis.query(cmd("XDEL").arg(stream("a")).arg(&entries.ids[number].id)).await.unwrap();
        assert_eq!(deleted, 1);
    };
    // One that is remembered, and after another has taken over: one that is read again.
    delete(2).await;
    let parked = streams(&server).parked(9).await.unwrap();
    diary.on("a", 3, Act::Park { retry: false });
    diary.on("a", 0, Act::Fail(0));
    assert!(streams(&server).redrive(parked[0].id).await.unwrap());
    wait_until("the next is parked", SOON, async || diary.of("a") == [0, 1] && diary.tried("a", 3) == 1)
        .await;
    consumer.kill().await;
    delete(4).await;
    diary.forgive();
    let _other = Mortal::run(Arc::new(Consumer::of_redis(streams(&server), diary.clone())));
    wait_until("the rest comes", LONG, async || diary.of("a").contains(&5)).await;
    assert!(diary.of("a").ends_with(&[3, 5]), "{:?}", diary.of("a"));
    wait_until("all is acknowledged", SOON, async || pending(&redis, "a").await == 0).await;
    let parked = streams(&server).parked(9).await.unwrap();
    assert!(parked.is_empty(), "what another consumer set aside stays on the list: {parked:?}");
}

#[tokio::test]
async fn a_list_that_cannot_be_written_holds_up_nothing_but_what_is_on_it() {
    let server = scalekit_testkit::Redis::start().await;
    let (site, redis) = (Sqlite::site().await, open(&server));
    let _relay = relay(&server, &site);
    let diary = Arc::new(Diary::default());
    diary.on("a", 0, Act::Park { retry: true });
    let list = "shop:e:{pay}:parked";
    redis.query::<()>(cmd("SET").arg(list).arg("no hash")).await.unwrap();
    let _consumer = Mortal::run(Arc::new(Consumer::of_redis(streams(&server), diary.clone())));
    let beside = neighbour("a");
    site.append("a", 0..3).await;
    wait_until("the first was tried", SOON, async || diary.tried("a", 0) >= 1).await;
    site.append(&beside, 0..3).await;
    diary.until("others of its lane go on", |diary| diary.of(&beside).len() == 3).await;
    diary.forgive();
    diary.until("it is tried again by itself", |diary| diary.of("a") == [0, 1, 2]).await;
    assert!(pending(&redis, "a").await >= 1, "it is not acknowledged while it may be on the list");
    redis.query::<()>(cmd("DEL").arg(list)).await.unwrap();
    wait_until("all is acknowledged", SOON, async || pending(&redis, "a").await == 0).await;
    assert!(streams(&server).parked(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_call_read_that_was_given_up_comes_before_later_entries() {
    let server = scalekit_testkit::Redis::start().await;
    let (site, redis) = (Sqlite::site().await, open(&server));
    let relay = relay(&server, &site);
    let diary = Arc::new(Diary::default());
    let _consumer = Mortal::run(Arc::new(Consumer::of_redis(streams(&server), diary.clone())));
    site.append("a", [0]).await;
    diary.until("the first is handled", |diary| diary.of("a") == [0]).await;
    drop(relay);
    let first: Vec<(String, Vec<String>)> =
        redis.query(cmd("XRANGE").arg(stream("a")).arg("-").arg("+")).await.unwrap();
    for round in 0..20 {
        // Two entries, of which the first is read in the owner's name by a call whose answer nobody has seen.
        let mut both = pipe();
        for number in [2 * round + 1, 2 * round + 2] {
            let mut fields = first[0].1.clone();
            for place in (0..fields.len()).step_by(2) {
                match fields[place].as_str() {
                    "id" => fields[place + 1] = uuid::Uuid::now_v7().to_string(),
                    "data" => fields[place + 1] = number.to_string(),
                    _ => {}
                }
            }
            both.cmd("XADD").arg(stream("a")).arg("*").arg(fields).ignore();
        }
        both.cmd("XREADGROUP").arg("GROUP").arg("pay").arg("owner").arg("COUNT").arg(1);
        both.arg("STREAMS").arg(stream("a")).arg(">").ignore();
        both.atomic();
        redis.pipeline::<()>(&both).await.unwrap();
        diary.until("both are handled", |diary| diary.of("a").len() >= 2 * round as usize + 3).await;
        assert!(diary.of("a").into_iter().eq(0..2 * round + 3), "{:?}", diary.of("a"));
    }
}

/// Holds each event until it is told to let go.
#[derive(Default)]
struct Holder {
    begun: Notify,
    let_go: Notify,
}

#[async_trait]
impl Handler for Holder {
    async fn handle(&self, _event: &Delivered) -> scalekit_core::Result<Outcome> {
        self.begun.notify_one();
        self.let_go.notified().await;
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn a_consumer_that_stops_keeps_the_lane_of_what_it_still_handles() {
    let server = scalekit_testkit::Redis::start().await;
    let (site, redis) = (Sqlite::site().await, open(&server));
    let _relay = relay(&server, &site);
    let holder = Arc::new(Holder::default());
    let mut workers = Workers::default();
    workers.spawn(Arc::new(Consumer::of_redis(streams(&server), holder.clone())));
    site.append("a", 0..2).await;
    holder.begun.notified().await;
    let stopping = tokio::spawn(async move { workers.drain(LONG).await });
    let diary = Arc::new(Diary::default());
    let _second = Mortal::run(Arc::new(Consumer::of_redis(streams(&server), diary.clone())));
    let owner = format!("{}:pay:owner", stream("a"));
    let first: String = redis.query(cmd("GET").arg(&owner)).await.unwrap();
    // A lease is renewed when what is left of it grows.
    let (renewals, left) = (std::cell::Cell::new(0), std::cell::Cell::new(i64::MAX));
    wait_until("the lease is renewed again and again", LONG, async || {
        let now: i64 = redis.query(cmd("PTTL").arg(&owner)).await.unwrap();
        renewals.set(renewals.get() + u32::from(now > left.replace(now)));
        renewals.get() >= 6
    })
    .await;
    assert_eq!(redis.query::<String>(cmd("GET").arg(&owner)).await.unwrap(), first);
    assert!(diary.of("a").is_empty(), "the second must not begin");
    holder.let_go.notify_one();
    assert!(stopping.await.unwrap(), "it stops when the handler ends");
    wait_until("the second goes on", LONG, async || diary.of("a") == [1]).await;
}

/// Fails, parks and delays at random.
struct Moody {
    diary: Diary,
    random: std::sync::Mutex<scalekit_testkit::Rng>,
}

#[async_trait]
impl Handler for Moody {
    async fn handle(&self, event: &Delivered) -> scalekit_core::Result<Outcome> {
        let mood = self.random.lock().unwrap().below(20);
        match mood {
            0 => Ok(Outcome::Park { reason: "not now".into(), retry: true }),
            1 => Err(scalekit_core::Error::new(scalekit_core::ErrorKind::Unavailable, "not now")),
            _ => self.diary.handle(event).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moody_handler_sees_each_key_in_order_though_redis_is_killed() {
    let seed = seed();
    let server = scalekit_testkit::Redis::builder().appendonly_always().start().await;
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let random = std::sync::Mutex::new(scalekit_testkit::Rng::new(seed));
    let moody = Arc::new(Moody { diary: Diary::default(), random });
    let _consumer = Mortal::run(Arc::new(Consumer::of_redis(streams(&server), moody.clone())));
    let keys: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
    for round in 0..4 {
        for key in &keys {
            site.append(key, round * 5..round * 5 + 5).await;
        }
        server.kill().await;
        server.restart().await;
    }
    let whole = || keys.iter().all(|key| moody.diary.of(key).last() == Some(&19));
    wait_until("all are handled", LONG * 2, async || whole()).await;
    for key in &keys {
        let mut seen = moody.diary.of(key);
        // What was done but not acknowledged when Redis went comes again, from there on in order.
        let mut high = 0;
        for &number in &seen {
            assert!(number <= high, "seed {seed}, {key}: {seen:?}");
            high = high.max(number + 1);
        }
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.into_iter().eq(0..20), "seed {seed}, {key}");
    }
}
