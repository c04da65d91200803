//! A Cluster of which nodes are halted, unknown, elsewhere, or not what the seeds say.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use scalekit_core::{
    ErrorKind, Result,
    redis::{Redis, RedisConfig, Script, cmd, pipe},
};
use scalekit_testkit::{Proxy, RedisCluster, Rng, evidence, free_port, full, seed, wait_until};

/// How long a test waits for what must happen; nothing is timed.
const LONG: Duration = Duration::from_secs(30);
/// No node takes another for failed while it is halted.
const NEVER: Duration = Duration::from_secs(120);

static BOTH: Script = Script::new(
    "-- Adds 1 to KEYS[1] and KEYS[2]. Returns the second. Atomic: nobody reads the half.\n\
     redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])",
);

fn patient() -> RedisConfig {
    RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG)
}

fn open(cluster: &RedisCluster) -> Redis {
    Redis::open_with(&cluster.urls(), patient()).unwrap()
}

async fn incr(redis: &Redis, key: &str) -> Result<u64> {
    redis.query(cmd("INCR").arg(key)).await
}

/// A key of each master's.
async fn keys(cluster: &RedisCluster) -> Vec<String> {
    let mut keys = vec![String::new(); cluster.nodes().len()];
    for number in 0.. {
        let key = format!("k{number}");
        let place = cluster.node_of(&key).await;
        keys[place] = key;
        if keys.iter().all(|key| !key.is_empty()) {
            break;
        }
    }
    keys
}

/// The times of commands to the keys, one after the other, until told to stop; none may fail.
fn load(redis: &Redis, keys: &[String], stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<Duration>> {
    let (redis, keys, stop) = (redis.clone(), keys.to_vec(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut times = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            for key in &keys {
                let start = Instant::now();
                incr(&redis, key).await.unwrap();
                times.push(start.elapsed());
            }
        }
        times
    })
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_master_harms_its_own_slots_only_and_is_back_when_it_goes_on() {
    let cluster = scalekit_testkit::Redis::cluster_builder(3).node_timeout(NEVER).start().await;
    let keys = keys(&cluster).await;
    let redis = Redis::open_with(&cluster.urls(), RedisConfig::default()).unwrap();
    for key in &keys {
        wait_until("connected", LONG, async || incr(&redis, key).await.is_ok()).await;
    }
    let others = Redis::open_with(&cluster.urls(), if full() { RedisConfig::default() } else { patient() });
    let others = others.unwrap();
    let run = async |rounds: u64| {
        let stop = Arc::new(AtomicBool::new(false));
        let load = load(&others, &keys[1..], &stop);
        tokio::time::sleep(Duration::from_secs(if full() { 10 } else { 0 })).await;
        let own = if rounds > 0 { attack(&redis, &keys[0], rounds).await } else { 0 };
        stop.store(true, Ordering::Relaxed);
        (load.await.unwrap(), own)
    };
    let before: u64 = redis.query(cmd("GET").arg(&keys[0])).await.unwrap();
    let (mut calm, _) = run(0).await;
    cluster.nodes()[0].pause().await;
    let (mut halted, unknown) = run(if full() { 50_000 } else { 200 }).await;
    assert!(!others.is_down() && !redis.is_down(), "two of three masters serve");

    cluster.nodes()[0].resume();
    let resumed = Instant::now();
    wait_until("it is back", LONG, async || incr(&redis, &keys[0]).await.is_ok()).await;
    let back = resumed.elapsed();
    let count: u64 = redis.query(cmd("GET").arg(&keys[0])).await.unwrap();
    // Nothing that got no answer was sent a second time.
    assert!((before + 1..=before + unknown + 1).contains(&count), "{before}, {unknown} unknown, {count}");
    if full() {
        let of = |times: &mut [Duration]| (percentile(times, 50), percentile(times, 99));
        let ((p50, p99), (calm50, calm99)) = (of(&mut halted), of(&mut calm));
        assert!(p99 < calm99 * 3 + Duration::from_millis(2), "{p50:?} {p99:?}, calm {calm50:?} {calm99:?}");
        assert!(back < Duration::from_secs(1), "{back:?}");
        let sent = halted.len();
        evidence(
            "one of three Cluster masters halted (SIGSTOP)",
            &format!("{sent} commands to the other slots"),
            &format!(
                "none failed; p50 {p50:.1?}, p99 {p99:.1?} (calm: {calm50:.1?}, {calm99:.1?}); back after {back:.1?}"
            ),
        );
    }
}

/// Commands to a halted node: time-outs, then refusals. How many may be executed later.
async fn attack(redis: &Redis, key: &str, rounds: u64) -> u64 {
    let (mut unknown, mut turned) = (0, 0);
    while turned < rounds {
        let error = incr(redis, key).await.unwrap_err();
        match error.kind() {
            ErrorKind::OutcomeUnknown => unknown += 1,
            ErrorKind::Unavailable => turned += 1,
            _ => panic!("{error:?}"),
        }
        if turned == 0 {
            assert!(unknown <= 3, "three time-outs in a row are down");
        }
        // Others have their turn on a machine with few cores.
        tokio::task::yield_now().await;
    }
    assert!(unknown >= 3, "it was asked");
    unknown
}

#[tokio::test]
async fn nothing_is_executed_twice_however_often_connections_break() {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let cluster = scalekit_testkit::Redis::cluster_builder(1).node_timeout(NEVER).start().await;
    let node = &cluster.nodes()[0];
    let proxy = Proxy::to(node.addr()).await;
    proxy.set_delay(Duration::from_millis(1));
    let port = proxy.addr().port();
    node.admin(cmd("CONFIG").arg(&["SET", "cluster-announce-port"]).arg(port)).await;
    let protocol = 2 + rng.below(2);
    let urls =
        ["127.0.0.1", "localhost"].map(|host| format!("redis://{host}:{port}?protocol=resp{protocol}"));
    let redis = Redis::open_with(&urls, patient()).unwrap();
    let (mut done, mut unknown) = (0, 0);
    for round in 0..4_000 {
        if round >= 40 && unknown >= 5 {
            break;
        }
        let task = tokio::spawn({
            let redis = redis.clone();
            async move { incr(&redis, "n").await }
        });
        if rng.one_in(2) {
            tokio::time::sleep(Duration::from_micros(rng.below(4_000))).await;
            proxy.cut().await;
            proxy.heal().await;
        }
        match task.await.unwrap() {
            Ok(_) => done += 1,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => unknown += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
        }
    }
    let count: u64 = node.admin(cmd("GET").arg("n")).await.trim().parse().unwrap();
    println!("done {done}, unknown {unknown}, executed {count}");
    assert!(unknown > 0, "no command was hit: the attack missed");
    assert!((done..=done + unknown).contains(&count), "done {done}, unknown {unknown}, executed {count}");
}

#[tokio::test]
async fn seeds_that_are_dead_silent_or_no_cluster_are_passed_over() {
    let cluster = scalekit_testkit::Redis::cluster_builder(3).node_timeout(NEVER).start().await;
    let keys = keys(&cluster).await;
    let silent = scalekit_testkit::Redis::start().await;
    silent.pause().await;
    let (dead, alone) = (free_port(), scalekit_testkit::Redis::start().await);
    let bad = [format!("redis://127.0.0.1:{}", dead.number()), silent.url(), alone.url()];
    for good in cluster.urls() {
        let urls = [&bad[..], &[good]].concat();
        // The silent one would take all of the connect time-out: nobody waits for it.
        let redis = Redis::open_with(&urls, patient().with_io_budget(LONG / 6)).unwrap();
        for key in &keys {
            incr(&redis, key).await.unwrap();
        }
    }
    // None is right: the first failure tells why, and after it commands fail at once.
    let redis = Redis::open_with(&[&bad[0], &bad[2]], RedisConfig::default()).unwrap();
    let error = incr(&redis, "k").await.unwrap_err();
    assert!(std::error::Error::source(&error).is_some(), "{error:?}");
    assert!(redis.is_down());
    let error = incr(&redis, "k").await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unavailable, "redis is down"));
}

#[tokio::test]
async fn nodes_that_are_elsewhere_after_a_restart_are_found_through_the_seed_that_stayed() {
    let cluster = scalekit_testkit::Redis::cluster_builder(3).node_timeout(NEVER).start().await;
    let keys = keys(&cluster).await;
    let redis = open(&cluster);
    for key in &keys {
        incr(&redis, key).await.unwrap();
    }
    for node in &cluster.nodes()[1..] {
        node.restart_elsewhere().await;
    }
    for key in &keys {
        wait_until("served again", LONG, async || incr(&redis, key).await.is_ok()).await;
    }
    // The one that stayed goes, too; what was learnt from it is enough.
    cluster.nodes()[0].restart_elsewhere().await;
    for key in &keys {
        wait_until("served again", LONG, async || incr(&redis, key).await.is_ok()).await;
    }
}

#[tokio::test]
async fn users_sign_in_at_nodes_that_were_not_named_too() {
    let builder = scalekit_testkit::Redis::cluster_builder(3).node_timeout(NEVER);
    let cluster = builder.only_user("app", "s3cret", "~* &* +@all").start().await;
    let keys = keys(&cluster).await;
    let port = cluster.nodes()[0].port();
    let [one, other] = ["127.0.0.1", "localhost"].map(|host| format!("redis://app:s3cret@{host}:{port}"));
    let redis = Redis::open_with(&[&one, &other], patient()).unwrap();
    for key in &keys {
        incr(&redis, key).await.unwrap();
    }
    let wrong = [one, other].map(|url| url.replace("s3cret", "wr0ng"));
    let error = incr(&Redis::open_with(&wrong, patient()).unwrap(), "k").await.unwrap_err();
    assert_eq!(error.to_string(), "redis refuses the credentials", "{error:?}");
    assert!(!format!("{error:?} {error}").contains("wr0ng"));
}

#[tokio::test]
async fn urls_that_cannot_be_one_cluster_are_refused() {
    let bad = [
        (["redis://a:1", "redis://u:p@b:1"], "differ"),
        (["redis://a:1", "redis://b:1?protocol=resp2"], "differ"),
        (["redis://a:1/3", "redis://b:1/3"], "no database but 0"),
        (["unix:///tmp/a", "unix:///tmp/b"], "Unix socket"),
    ];
    for (urls, problem) in bad {
        let error = Redis::open_with(&urls, RedisConfig::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[tokio::test]
async fn scripts_pipelines_and_each_node_by_itself() {
    let cluster = scalekit_testkit::Redis::cluster_builder(3).node_timeout(NEVER).start().await;
    let redis = open(&cluster);
    for key in keys(&cluster).await {
        let (a, b) = (format!("a{{{key}}}"), format!("b{{{key}}}"));
        assert_eq!(redis.run::<u64>(&BOTH.key(&a).key(&b)).await.unwrap(), 1);
        let plain: (u64, u64) = redis.pipeline(pipe().incr(&a, 1).incr(&b, 1)).await.unwrap();
        let atomic: (u64,) = redis.pipeline(pipe().atomic().incr(&a, 1).ignore().incr(&b, 1)).await.unwrap();
        assert_eq!((plain, atomic), ((2, 2), (3,)));
        let refused = pipe().atomic().incr(&a, 1).cmd("HGET").arg(&a).arg("f").clone();
        let error = redis.pipeline::<(u64, u64)>(&refused).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
    }
    assert_eq!(redis.query::<String>(&cmd("PING")).await.unwrap(), "PONG");
    let ids: Vec<String> = redis.query_each(cmd("CLUSTER").arg("MYID")).await.unwrap();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3, "{ids:?}");
    assert_eq!(redis.query_each::<u64>(&cmd("DBSIZE")).await.unwrap(), [2, 2, 2]);
    let error = redis.query::<Vec<String>>(cmd("MGET").arg("k1").arg("k2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "keys of two slots: {error:?}");
}

#[test]
fn a_lesson_that_died_with_its_runtime_is_begun_anew() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let mut cluster = None;
    let redis = first.block_on(async {
        let started = scalekit_testkit::Redis::cluster_builder(3).node_timeout(NEVER).start().await;
        let redis = open(&started);
        for node in started.nodes() {
            node.pause().await;
        }
        // It waits for the lesson, which waits for nodes that say nothing.
        let asked = tokio::time::timeout(Duration::from_millis(50), incr(&redis, "k")).await;
        assert!(asked.is_err());
        cluster = Some(started);
        redis
    });
    drop(first);
    for node in cluster.iter().flat_map(RedisCluster::nodes) {
        node.resume();
    }
    assert_eq!(second.block_on(incr(&redis, "k")).unwrap(), 1);
}
