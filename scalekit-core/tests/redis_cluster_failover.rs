//! A master of a Cluster is killed, and its replica promoted.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use scalekit_core::{
    ErrorKind, Result,
    redis::{Heard, Redis, RedisConfig, Script, Subscription, cmd},
};
use scalekit_testkit::{RedisCluster, evidence, full, wait_until};
use tokio::time::timeout;

/// How long a test waits for what must happen; nothing is timed.
const LONG: Duration = Duration::from_secs(30);
/// How long a master may be silent before its replica takes its place.
const NODE_TIMEOUT: Duration = Duration::from_millis(1_000);

static ADD: Script = Script::new(
    "-- Adds ARGV[1] to KEYS[1]. Returns the sum. Atomic: one command.\n\
     return redis.call('INCRBY', KEYS[1], ARGV[1])",
);

fn patient() -> RedisConfig {
    RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG)
}

fn open(cluster: &RedisCluster, config: RedisConfig) -> Redis {
    Redis::open_with(&cluster.urls(), config).unwrap()
}

async fn add(redis: &Redis, key: &str) -> Result<u64> {
    redis.run(&ADD.key(key).arg(1)).await
}

async fn of_master(cluster: &RedisCluster, master: usize) -> String {
    for number in 0.. {
        let key = format!("k{number}");
        if cluster.node_of(&key).await == master {
            return key;
        }
    }
    unreachable!("every master has slots")
}

/// What came of adding 1 again and again.
#[derive(Default, Debug)]
struct Outcome {
    done: u64,
    unknown: u64,
    refused: u64,
}

impl Outcome {
    fn note(&mut self, result: &Result<u64>) {
        match result.as_ref().map_err(scalekit_core::Error::kind) {
            Ok(_) => self.done += 1,
            Err(ErrorKind::OutcomeUnknown) => self.unknown += 1,
            Err(ErrorKind::Unavailable) => self.refused += 1,
            Err(_) => panic!("{result:?}"),
        }
    }
}

fn adding(redis: Redis, key: String, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Outcome> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut outcome = Outcome::default();
        while !stop.load(Ordering::Relaxed) {
            outcome.note(&add(&redis, &key).await);
            tokio::task::yield_now().await;
        }
        outcome
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replicated_is_kept_and_the_replica_is_found_when_it_is_promoted() {
    let cluster =
        scalekit_testkit::Redis::cluster_builder(3).replicas().node_timeout(NODE_TIMEOUT).start().await;
    for round in 0..if full() { 3 } else { 1 } {
        fail_over(&cluster, round).await;
    }
}

async fn fail_over(cluster: &RedisCluster, victim: usize) {
    let (key, other) = (of_master(cluster, victim).await, of_master(cluster, (victim + 1) % 3).await);
    let (redis, idle) = (open(cluster, patient()), open(cluster, patient()));
    let before = add(&redis, &key).await.unwrap();
    add(&idle, &other).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let beside = adding(open(cluster, patient()), other, &stop);
    let (master, replica) = (&cluster.nodes()[victim], &cluster.replicas()[victim]);

    // What is acknowledged by now is waited for; what comes after it may be lost.
    let mut outcome = Outcome::default();
    for _ in 0..200 {
        outcome.note(&add(&redis, &key).await);
    }
    let (safe, offset) = (before + outcome.done, master.replication_offset().await);
    wait_until("it is replicated", LONG, async || replica.replication_offset().await >= offset).await;
    let own = adding(redis.clone(), key.clone(), &stop);
    // Let some be on their way.
    wait_until("more was added", LONG, async || add(&redis, &key).await.unwrap() > safe + 50).await;
    master.kill().await;
    wait_until("the replica is promoted", LONG, async || replica.is_master().await).await;
    let promoted = Instant::now();
    wait_until("the handle has found it", LONG, async || add(&redis, &key).await.is_ok()).await;
    let found = promoted.elapsed();

    // One that was idle all the time has no failed command: its connection has told that it is gone.
    add(&idle, &key).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let (own, beside) = (own.await.unwrap(), beside.await.unwrap());
    assert_eq!((beside.unknown, beside.refused), (0, 0), "the other slots: {beside:?}");
    assert!(own.refused > 0, "the slot was down: {own:?}");
    let count: u64 = redis.query(cmd("GET").arg(&key)).await.unwrap();
    assert!(count >= safe, "replicated: {safe}; {count} left; {own:?}");
    if full() {
        assert!(found < Duration::from_secs(1), "{found:?}");
        evidence(
            "a Cluster master killed (SIGKILL), its replica promoted",
            &format!("{} commands to the slot, {} beside", own.done + own.unknown, beside.done),
            &format!(
                "nothing replicated lost, {} unknown, none failed beside; found {found:.0?} after the promotion",
                own.unknown
            ),
        );
    }
    // It comes back as the replica of its replica; nobody is sent to it.
    master.restart().await;
    wait_until("it follows", LONG, async || !master.is_master().await).await;
    for _ in 0..20 {
        add(&redis, &key).await.unwrap();
    }
}

async fn next(subscription: &mut Subscription) -> Heard {
    timeout(LONG, subscription.next()).await.expect("nothing is heard")
}

/// The place of the node on which somebody listens.
async fn listened_to(cluster: &RedisCluster, but: Option<usize>) -> usize {
    let nodes: Vec<_> = cluster.nodes().iter().chain(cluster.replicas()).enumerate().collect();
    for (place, node) in nodes.into_iter().filter(|(place, _)| Some(*place) != but) {
        if node.admin(cmd("PUBSUB").arg("CHANNELS")).await.contains("news") {
            return place;
        }
    }
    panic!("nobody listens")
}

#[tokio::test]
async fn a_subscription_moves_to_another_node_when_its_own_dies_or_hangs() {
    let cluster = scalekit_testkit::Redis::cluster_builder(3).replicas().start().await;
    let redis = open(&cluster, patient());
    add(&redis, "k").await.unwrap();
    let mut heard = redis.subscription("news");
    assert_eq!(next(&mut heard).await, Heard::Gap);
    let nodes: Vec<_> = cluster.nodes().iter().chain(cluster.replicas()).collect();
    let mut gone = None;
    for halted in [false, true] {
        let at = listened_to(&cluster, gone).await;
        match halted {
            true => nodes[at].pause().await,
            false => nodes[at].kill().await,
        }
        let say = async |text: &str| {
            let speaker = (0..nodes.len()).find(|place| *place != at && Some(*place) != gone).unwrap();
            nodes[speaker].admin(cmd("PUBLISH").arg("news").arg(text)).await;
        };
        assert_eq!(next(&mut heard).await, Heard::Gap, "halted: {halted}");
        for text in ["one", "two"] {
            say(text).await;
        }
        for text in ["one", "two"] {
            assert_eq!(next(&mut heard).await, Heard::Message(text.as_bytes().to_vec()));
        }
        if halted {
            nodes[at].resume();
        } else {
            gone = Some(at);
        }
    }
}

#[tokio::test]
async fn a_blocking_reader_follows_its_key() {
    let cluster = scalekit_testkit::Redis::cluster(3).await;
    let redis = open(&cluster, patient());
    let mut reader = redis.dedicated();
    let slot = cluster.slot_of("{moving}").await;
    let home = cluster.node_of("{moving}").await;
    for round in 0..3 {
        let (from, to) = ((home + round) % 3, (home + round + 1) % 3);
        let () = redis.query(cmd("RPUSH").arg("{moving}:jobs").arg(round)).await.unwrap();
        cluster.begin_move(slot, from, to).await;
        if round == 1 {
            // The key is asked for where it will be.
            while cluster.move_keys(slot, from, to, 1).await {}
        }
        let mut pop = cmd("BLPOP");
        pop.arg("{moving}:jobs").arg(20);
        let job: Option<(String, usize)> = reader.query(&pop, LONG).await.unwrap();
        assert_eq!(job.unwrap().1, round);
        while cluster.move_keys(slot, from, to, 1).await {}
        cluster.end_move(slot, from, to).await;
    }
    let length: u64 = reader.query(cmd("LLEN").arg("{moving}:jobs"), Duration::ZERO).await.unwrap();
    assert_eq!(length, 0);
}
