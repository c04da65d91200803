//! Redis Streams: what is on the wire, who may write it, who reads it, and what a restart does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use redis::streams::StreamRangeReply;
use scalekit_core::{
    ErrorKind, Workers,
    db::Sqlite,
    redis::{Redis, RedisConfig, cmd},
};
use scalekit_outbox::{
    Consumer, Event, Lane, LogPosition, Record, RedisSink, RedisStreams, Sink, SinkError, lane_of,
};
use scalekit_testkit::{RedisServer, wait_until};
use support::{
    Kind, Mortal, SOON, Site,
    handler::{Act, Diary},
};

const LONG: Duration = Duration::from_secs(40);

fn open(server: &RedisServer) -> Redis {
    Redis::open(&server.url()).unwrap()
}

fn streams(server: &RedisServer, group: &str) -> RedisStreams {
    RedisStreams::new(open(server), "shop", group, &["east"]).unwrap()
}

fn consumer(server: &RedisServer, group: &str, diary: &Arc<Diary>) -> Mortal {
    Mortal::run(Arc::new(Consumer::of_redis(streams(server, group), diary.clone())))
}

fn relay(server: &RedisServer, site: &Site<Sqlite>) -> Workers {
    site.run(Arc::new(RedisSink::new(open(server), "shop").unwrap())).1
}

fn record(key: &str, number: u64, seq: u64) -> Record {
    Record {
        id: uuid::Uuid::now_v7(),
        kind: "test.numbered".into(),
        source: "s".into(),
        key: key.into(),
        time: "2026-01-01T00:00:00Z".into(),
        content_type: "application/json".into(),
        traceparent: None,
        headers: Default::default(),
        data: number.to_string().into(),
        position: LogPosition::new(2, 7, seq),
    }
}

async fn entries(redis: &Redis, stream: &str) -> StreamRangeReply {
    redis.query(cmd("XRANGE").arg(stream).arg("-").arg("+")).await.unwrap()
}

#[tokio::test]
async fn an_entry_is_a_cloud_event_under_its_place_in_the_log() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = open(&server);
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = Event::new("order.placed", "o-1", &7).unwrap().with_traceparent(trace).unwrap();
    let event = event.with_header("tenant", "acme").unwrap();
    let mut tx = site.begin().await;
    site.outbox.append(&mut *tx, &event).await.unwrap();
    tx.commit().await.unwrap();
    let stream = format!("shop:e:{{east.{}}}", lane_of("o-1"));
    wait_until("it is there", SOON, async || !entries(&redis, &stream).await.ids.is_empty()).await;
    let entry = entries(&redis, &stream).await.ids.remove(0);
    let field = |name: &str| entry.get::<String>(name);
    let expected = [
        ("specversion", "1.0"),
        ("type", "order.placed"),
        ("subject", "o-1"),
        ("source", "scalekit"),
        ("datacontenttype", "application/json"),
        ("traceparent", trace),
        ("tenant", "acme"),
        ("data", "7"),
    ];
    for (name, value) in expected {
        assert_eq!(field(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(field("id"), Some(event.id().to_string()));
    assert!(field("time").unwrap().ends_with('Z'));
    assert_eq!(entry.map.len(), 10);
}

#[tokio::test]
async fn a_repetition_is_recognised_and_another_event_in_its_place_stops_the_lane() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = open(&server);
    let sink = RedisSink::new(redis.clone(), "shop").unwrap();
    let lane = Lane::new("east", 3, 1);
    let batch: Vec<Record> = (1..=100).map(|seq| record("a", seq, seq)).collect();
    sink.publish(&lane, &batch[..70]).await.unwrap();
    // A batch that begins with a repetition, as after a lost acknowledgement.
    sink.publish(&lane, &batch[20..]).await.unwrap();
    // A late one of the owner before, all of it there already.
    sink.publish(&lane, &batch[..30]).await.unwrap();
    let there = entries(&redis, "shop:e:{east.3}").await;
    assert_eq!(there.ids.len(), 100);
    assert_eq!(there.ids[0].id, format!("{}-1", (2_u64 << 48) | 7));
    for other in [record("a", 50, 50), record("a", 0, 0)] {
        let clash = sink.publish(&lane, &[other]).await;
        assert!(matches!(clash, Err(SinkError::Fenced(_))), "{clash:?}");
    }
    assert_eq!(entries(&redis, "shop:e:{east.3}").await.ids.len(), 100);
    let wrong: () = redis.query(cmd("SET").arg("shop:e:{east.4}").arg("no stream")).await.unwrap();
    let refused = sink.publish(&Lane::new("east", 4, 1), &batch).await;
    assert!(matches!(refused, Err(SinkError::Unavailable(_))), "{wrong:?} {refused:?}");
}

#[tokio::test]
async fn consumers_share_the_lanes_and_keep_each_key_in_order() {
    let server = scalekit_testkit::Redis::start().await;
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let (one, two, other) =
        (Arc::new(Diary::default()), Arc::new(Diary::default()), Arc::new(Diary::default()));
    let (first, _second) = (consumer(&server, "pay", &one), consumer(&server, "pay", &two));
    let _other = consumer(&server, "mail", &other);
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let mut round = 0;
    while one.all().is_empty() || two.all().is_empty() {
        for key in &keys {
            site.append(key, [round]).await;
        }
        round += 1;
        assert!(round < 500, "one consumer gets nothing");
    }
    // The lanes of the one that dies go to the other.
    first.kill().await;
    for key in &keys {
        site.append(key, [round]).await;
    }
    wait_until("all are handled", LONG, async || {
        let handled = two.all();
        keys.iter().all(|key| handled.get(key).is_some_and(|numbers| numbers.last() == Some(&round)))
    })
    .await;
    for key in &keys {
        // What the dead one did not acknowledge comes again; the order of first appearances stays.
        let mut seen: Vec<u64> = one.of(key).into_iter().chain(two.of(key)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, (0..=round).collect::<Vec<_>>(), "{key}");
        assert!(two.of(key).is_sorted(), "{key}: {:?}", two.of(key));
        assert!(one.of(key).is_sorted(), "{key}: {:?}", one.of(key));
    }
    other
        .until("the other group has all", |other| keys.iter().all(|key| other.of(key).last() == Some(&round)))
        .await;
    assert!(
        keys.iter().all(|key| other.of(key) == (0..=round).collect::<Vec<_>>()),
        "another group has each once"
    );
}

#[tokio::test]
async fn what_a_dead_consumer_held_comes_again_in_order() {
    let server = scalekit_testkit::Redis::start().await;
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let (one, two) = (Arc::new(Diary::default()), Arc::new(Diary::default()));
    one.on("a", 3, Act::Fail(u32::MAX));
    one.on("b", 3, Act::Park { retry: false });
    let first = consumer(&server, "pay", &one);
    site.append("a", 0..100).await;
    site.append("b", 0..100).await;
    one.until("both keys wait", |one| one.tried("a", 3) >= 1 && one.tried("b", 3) >= 1).await;
    first.kill().await;
    let _second = consumer(&server, "pay", &two);
    let whole = |key: &str| two.of(key).last() == Some(&99);
    wait_until("the other has them", LONG, async || whole("a") && whole("b")).await;
    for key in ["a", "b"] {
        let (before, after) = (one.of(key), two.of(key));
        assert_eq!(before, [0, 1, 2], "{key}");
        // What the dead one had done but not acknowledged may come again.
        assert!(after[0] <= 3 && after.iter().copied().eq(after[0]..100), "{key}: {after:?}");
    }
}

#[tokio::test]
async fn a_consumer_reads_nothing_of_a_lane_that_is_anothers() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = open(&server);
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let diary = Arc::new(Diary::default());
    let _consumer = consumer(&server, "pay", &diary);
    site.append("a", 0..1).await;
    diary.until("it works", |diary| diary.of("a") == [0]).await;
    // As if it had been halted, and another had taken the lane over.
    let stream = format!("shop:e:{{east.{}}}", lane_of("a"));
    let owner = format!("{stream}:pay:owner");
    let _set: String = redis.query(cmd("SET").arg(&owner).arg("another")).await.unwrap();
    site.append("a", 1..2).await;
    wait_until("it is in the stream", SOON, async || entries(&redis, &stream).await.ids.len() == 2).await;
    // Since then it has looked after its lanes more than once.
    server.reset_commandstats().await;
    wait_until("it goes on with its lanes", SOON, async || {
        server.commandstats().await.get("zadd").is_some_and(|beats| *beats >= 2)
    })
    .await;
    let (unread,): (u64,) = redis
        .query(cmd("XPENDING").arg(&stream).arg("pay"))
        .await
        .map(|(n, _, _, _): (u64, redis::Value, redis::Value, redis::Value)| (n,))
        .unwrap();
    assert_eq!((diary.of("a"), unread), (vec![0], 0));
    let _gone: u64 = redis.query(cmd("DEL").arg(&owner)).await.unwrap();
    wait_until("it is taken back", LONG, async || diary.of("a") == [0, 1]).await;
}

#[tokio::test]
async fn a_consumer_that_stops_lets_go_at_once() {
    let server = scalekit_testkit::Redis::start().await;
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let diary = Arc::new(Diary::default());
    let mut workers = Workers::default();
    workers.spawn(Arc::new(Consumer::of_redis(streams(&server, "pay"), diary.clone())));
    site.append("a", 0..10).await;
    diary.until("the first handles", |diary| diary.of("a").len() == 10).await;
    assert!(workers.drain(SOON).await);
    site.append("a", 10..20).await;
    let start = tokio::time::Instant::now();
    let _second = consumer(&server, "pay", &diary);
    diary.until("the second goes on", |diary| diary.of("a").len() >= 20).await;
    assert!(start.elapsed() < Duration::from_secs(8), "it did not have to wait for a lease to run out");
    assert_eq!(diary.of("a"), (0..20).collect::<Vec<_>>(), "what was acknowledged does not come again");
}

#[tokio::test]
async fn failing_and_parked_events_keep_their_key_in_order() {
    let server = scalekit_testkit::Redis::start().await;
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let diary = Arc::new(Diary::default());
    diary.on("slow", 1, Act::Fail(2));
    diary.on("retried", 1, Act::Park { retry: true });
    diary.on("stuck", 1, Act::Park { retry: false });
    diary.on("panics", 1, Act::Panic);
    let _consumer = consumer(&server, "pay", &diary);
    let list = streams(&server, "pay");
    for key in ["slow", "retried", "stuck", "panics", "fine"] {
        site.append(key, 0..5).await;
    }
    diary.until("the slow one is through", |diary| diary.of("slow").len() == 5).await;
    diary.until("the panic is over", |diary| diary.of("panics").len() == 5).await;
    assert_eq!((diary.of("fine"), diary.of("stuck")), ((0..5).collect::<Vec<_>>(), vec![0]));
    wait_until("two are on the list", SOON, async || list.parked(10).await.unwrap().len() == 2).await;
    diary.until("one is retried by itself", |diary| diary.tried("retried", 1) >= 2).await;
    assert_eq!(diary.tried("stuck", 1), 1);
    diary.forgive();
    site.append("stuck", 5..7).await;
    diary.until("the retried one is through", |diary| diary.of("retried").len() >= 5).await;
    let parked = list.parked(10).await.unwrap();
    let stuck = parked.iter().find(|parked| !parked.retry).unwrap();
    assert_eq!((stuck.reason.as_str(), stuck.lane), ("not now", lane_of("stuck")));
    assert!(list.redrive(stuck.id).await.unwrap());
    assert!(!list.redrive(stuck.id).await.unwrap());
    diary.until("the stuck one is through", |diary| diary.of("stuck").len() >= 7).await;
    for key in ["slow", "retried", "stuck", "panics"] {
        let all = if key == "stuck" { 0..7 } else { 0..5 };
        assert_eq!(diary.of(key), all.collect::<Vec<_>>(), "{key}");
    }
    wait_until("the list is empty", SOON, async || list.parked(10).await.unwrap().is_empty()).await;
    wait_until("all is acknowledged", SOON, async || {
        let stream = format!("shop:e:{{east.{}}}", lane_of("stuck"));
        let (pending, _, _, _): (u64, redis::Value, redis::Value, redis::Value) =
            open(&server).query(cmd("XPENDING").arg(stream).arg("pay")).await.unwrap();
        pending == 0
    })
    .await;
}

#[tokio::test]
async fn a_restart_of_redis_loses_nothing_and_a_flush_is_recovered_from() {
    let server = scalekit_testkit::Redis::builder().appendonly_always().start().await;
    let site = Sqlite::site().await;
    let _relay = relay(&server, &site);
    let diary = Arc::new(Diary::default());
    let _consumer = consumer(&server, "pay", &diary);
    site.append("a", 0..10).await;
    diary.until("it works", |diary| diary.of("a").len() == 10).await;
    server.kill().await;
    site.append("a", 10..20).await;
    server.restart().await;
    site.append("a", 20..30).await;
    diary.until("the rest arrives", |diary| diary.of("a").contains(&29)).await;
    let mut seen = diary.of("a");
    assert!(seen.is_sorted(), "{seen:?}");
    seen.dedup();
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    // Streams, groups and leases are gone; what comes now arrives.
    server.flushall().await;
    site.append("a", 30..40).await;
    wait_until("it goes on after the flush", LONG, async || diary.of("a").contains(&39)).await;
    assert!(diary.of("a").ends_with(&(30..40).collect::<Vec<_>>()));
}

#[tokio::test]
async fn a_cluster_carries_events_in_order_per_key() {
    let cluster = scalekit_testkit::Redis::cluster(3).await;
    let redis = Redis::open_with(&cluster.urls(), RedisConfig::default()).unwrap();
    let site = Sqlite::site().await;
    let (_relay, _workers) = site.run(Arc::new(RedisSink::new(redis.clone(), "shop").unwrap()));
    let diary = Arc::new(Diary::default());
    diary.on("k3", 2, Act::Park { retry: true });
    let streams = RedisStreams::new(redis, "shop", "pay", &["east"]).unwrap();
    let _consumer = Mortal::run(Arc::new(Consumer::of_redis(streams.clone(), diary.clone())));
    let keys: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
    for key in &keys {
        site.append(key, 0..5).await;
    }
    wait_until("one is parked", LONG, async || streams.parked(5).await.unwrap().len() == 1).await;
    diary.forgive();
    let whole = |diary: &Diary| keys.iter().all(|key| diary.of(key).len() >= 5);
    wait_until("all are handled", LONG, async || whole(&diary)).await;
    assert!(keys.iter().all(|key| diary.of(key) == [0, 1, 2, 3, 4]));
    // With nothing to do it asks for each lane ten times a second, and not as often as it can.
    wait_until("it is quiet", SOON, async || {
        for node in cluster.nodes() {
            node.reset_commandstats().await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut calls = 0;
        for node in cluster.nodes() {
            calls += node.commandstats().await.get("evalsha").copied().unwrap_or_default();
        }
        (64..=64 * 25).contains(&calls)
    })
    .await;
}

#[tokio::test]
async fn a_name_that_would_move_a_key_is_refused() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = open(&server);
    for bad in ["", "a{b", "a:b", &"x".repeat(65)] {
        assert_eq!(RedisSink::new(redis.clone(), bad).unwrap_err().kind(), ErrorKind::Config);
        assert!(RedisStreams::new(redis.clone(), "shop", bad, &["east"]).is_err());
        assert!(RedisStreams::new(redis.clone(), "shop", "pay", &["east", bad]).is_err());
    }
    assert!(RedisStreams::new(redis, "shop", "pay", &[]).is_err());
}
