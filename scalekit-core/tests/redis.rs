//! The Redis handle against real servers: killed, stopped, cut off, restarted, emptied of scripts.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::time::Duration;

use scalekit_core::{
    Error, ErrorKind, Result,
    redis::{Redis, RedisConfig, Script, cmd, pipe},
};
use scalekit_testkit::{Proxy, at_once, wait_until};

/// How long a test waits for what must happen; nothing is timed.
const LONG: Duration = Duration::from_secs(20);

static TWICE: Script = Script::new(
    "-- Adds ARGV[1] to KEYS[1] twice. Returns the sum. Atomic: nobody reads the half.\n\
     redis.call('INCRBY', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[1], ARGV[1])",
);

/// A handle whose budget does not run out on a busy machine.
fn patient(url: &str) -> Redis {
    let config = RedisConfig::default()
        .with_io_budget(Duration::from_secs(5))
        .with_connect_timeout(Duration::from_secs(5));
    Redis::open_with(&[url], config).unwrap()
}

async fn incr(redis: &Redis) -> Result<i64> {
    redis.query(cmd("INCR").arg("n")).await
}

async fn recovers(redis: &Redis) {
    wait_until("redis answers again", LONG, async || incr(redis).await.is_ok()).await;
    assert!(!redis.is_down());
}

#[tokio::test]
async fn commands_pipelines_and_scripts_take_one_round_trip_each() {
    let server = scalekit_testkit::Redis::start().await;
    let proxy = Proxy::to(server.addr()).await;
    let redis = patient(&format!("redis://{}", proxy.addr()));
    assert_eq!(incr(&redis).await.unwrap(), 1);
    proxy.reset();

    let trips = |expected: u64| assert_eq!(proxy.round_trips(), expected);
    assert_eq!(incr(&redis).await.unwrap(), 2);
    trips(1);
    let both: (i64, i64) = redis.pipeline(pipe().incr("n", 1).incr("n", 1)).await.unwrap();
    assert_eq!(both, (3, 4));
    trips(2);
    assert_eq!(redis.run::<i64>(&TWICE.key("n").arg(3)).await.unwrap(), 10);
    trips(4); // The server had to be given the source.
    assert_eq!(redis.run::<i64>(&TWICE.key("n").arg(1)).await.unwrap(), 12);
    trips(5);
    server.script_flush().await;
    assert_eq!(redis.run::<i64>(&TWICE.key("n").arg(1)).await.unwrap(), 14);
    trips(7);
    assert_eq!(proxy.connections(), 0, "the one connection was not kept");
}

#[tokio::test]
async fn a_killed_server_fails_fast_and_is_back_without_help() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = patient(&server.url());
    incr(&redis).await.unwrap();

    server.kill().await;
    let first = incr(&redis).await.unwrap_err();
    assert!(first.is_transient(), "{first:?}");
    wait_until("the handle counts it as down", LONG, async || {
        let _ = incr(&redis).await;
        redis.is_down()
    })
    .await;
    let refused: Vec<Error> = at_once(100, |_| {
        let redis = redis.clone();
        async move { incr(&redis).await.unwrap_err() }
    })
    .await;
    assert!(refused.iter().all(|error| error.kind() == ErrorKind::Unavailable), "{refused:?}");
    assert!(
        refused.iter().all(|error| error.retry_after().is_some() || error.to_string().contains("reached"))
    );

    server.restart().await;
    recovers(&redis).await;
}

#[tokio::test]
async fn a_restart_while_idle_costs_no_command() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = patient(&server.url());
    for _ in 0..5 {
        incr(&redis).await.unwrap();
        server.kill().await;
        server.restart().await;
        // The driver has seen the end of the connection before anything is sent.
        let after = incr(&redis).await;
        assert!(after.is_ok(), "{after:?}");
    }
}

#[tokio::test]
async fn without_resp3_a_dead_connection_costs_one_command() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = patient(&format!("{}?protocol=resp2", server.url()));
    incr(&redis).await.unwrap();
    server.kill().await;
    server.restart().await;
    // Nothing has told that the connection is dead, so this command may have arrived.
    assert_eq!(incr(&redis).await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(incr(&redis).await.unwrap(), 1);
}

#[tokio::test]
async fn a_stopped_server_is_an_unknown_outcome_then_down_then_back() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = Redis::open(&server.url()).unwrap();
    wait_until("connected", LONG, async || incr(&redis).await.is_ok()).await;
    server.pause().await;
    let mut kinds = Vec::new();
    while !redis.is_down() {
        kinds.push(incr(&redis).await.unwrap_err().kind());
        assert!(kinds.len() < 100, "never down: {kinds:?}");
    }
    assert_eq!(kinds, [ErrorKind::OutcomeUnknown; 3], "three time-outs in a row");
    let turned_away = incr(&redis).await.unwrap_err();
    assert_eq!(
        (turned_away.kind(), turned_away.to_string().as_str()),
        (ErrorKind::Unavailable, "redis is down")
    );
    server.resume();
    recovers(&redis).await;
}

#[tokio::test]
async fn a_black_hole_is_left_by_a_new_connection() {
    let server = scalekit_testkit::Redis::start().await;
    let proxy = Proxy::to(server.addr()).await;
    let redis = Redis::open(&format!("redis://{}", proxy.addr())).unwrap();
    wait_until("connected", LONG, async || incr(&redis).await.is_ok()).await;
    proxy.blackhole().await;
    wait_until("down", LONG, async || {
        let _ = incr(&redis).await;
        redis.is_down()
    })
    .await;
    proxy.heal().await;
    recovers(&redis).await;
    proxy.cut().await;
    assert!(incr(&redis).await.unwrap_err().is_transient());
    proxy.heal().await;
    recovers(&redis).await;
}

#[tokio::test]
async fn nothing_is_executed_twice_however_often_the_connection_breaks() {
    let seed = scalekit_testkit::seed();
    let mut rng = scalekit_testkit::Rng::new(seed);
    let server = scalekit_testkit::Redis::start().await;
    let proxy = Proxy::to(server.addr()).await;
    proxy.set_delay(Duration::from_millis(1));
    let redis = patient(&format!("redis://{}?protocol=resp{}", proxy.addr(), 2 + rng.below(2)));
    let (mut done, mut unknown) = (0, 0);
    // Most cuts meet a handle that is still connecting; go on until some have met a command.
    for round in 0..4_000 {
        if round >= 40 && unknown >= 3 {
            break;
        }
        let task = tokio::spawn({
            let redis = redis.clone();
            async move { incr(&redis).await }
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
    let direct = patient(&server.url());
    let count: Option<i64> = direct.query(cmd("GET").arg("n")).await.unwrap();
    let count = count.unwrap_or_default();
    println!("done {done}, unknown {unknown}, executed {count}");
    assert!(unknown > 0, "no command was hit: the attack missed");
    assert!((done..=done + unknown).contains(&count), "done {done}, unknown {unknown}, executed {count}");
}

#[tokio::test]
async fn users_databases_and_refusals() {
    let builder = scalekit_testkit::Redis::builder().acl_user("app", "s3cret", "~app:* +@all -flushall");
    let server = builder.start().await;
    let redis = patient(&format!("{}/3", server.url_as("app")));
    let () = redis.query(cmd("SET").arg("app:k").arg("v")).await.unwrap();
    assert_eq!(redis.query::<String>(cmd("GET").arg("app:k")).await.unwrap(), "v");
    for refused in [cmd("GET").arg("other"), cmd("FLUSHALL").arg("SYNC")] {
        let error = redis.query::<Option<String>>(refused).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
    }
    let error = redis.query::<i64>(cmd("GET").arg("app:k")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let () = redis.query(cmd("SELECT").arg(3)).await.unwrap();

    let wrong = server.url_as("app").replace("s3cret", "wr0ng");
    let error = patient(&wrong).query::<()>(cmd("PING").arg("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(!format!("{error:?} {error}").contains("wr0ng"));
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_unavailable() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = patient(&server.url());
    let () = redis.query(cmd("REPLICAOF").arg("127.0.0.1").arg(1)).await.unwrap();
    let error = incr(&redis).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(redis.is_down(), "it is not asked by every request");
    let promote = async || redis.query::<()>(cmd("REPLICAOF").arg("NO").arg("ONE")).await.is_ok();
    scalekit_testkit::wait_until("one may ask again", Duration::from_secs(5), promote).await;
    let () = redis.query(cmd("CONFIG").arg("SET").arg("maxmemory").arg(1)).await.unwrap();
    let error = incr(&redis).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn a_blocking_reader_has_its_own_connection() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = patient(&server.url());
    let mut reader = redis.dedicated();
    let waiting = tokio::spawn(async move {
        let job: Option<(String, String)> =
            reader.query(cmd("BLPOP").arg("jobs").arg(20), LONG).await.unwrap();
        (job.unwrap().1, reader)
    });
    wait_until("the reader blocks", LONG, async || {
        let clients: String = redis.query(cmd("CLIENT").arg("LIST")).await.unwrap();
        clients.contains("cmd=blpop")
    })
    .await;
    incr(&redis).await.unwrap();
    let () = redis.query(cmd("RPUSH").arg("jobs").arg("a")).await.unwrap();
    let (job, reader) = waiting.await.unwrap();
    assert_eq!(job, "a");

    server.kill().await;
    server.restart().await;
    let reader = tokio::sync::Mutex::new(reader);
    wait_until("the reader is back", LONG, async || {
        reader.lock().await.query::<Option<String>>(cmd("GET").arg("none"), Duration::ZERO).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_cluster_serves_all_slots() {
    let cluster = scalekit_testkit::Redis::cluster(3).await;
    let config = RedisConfig::default()
        .with_io_budget(Duration::from_secs(5))
        .with_connect_timeout(Duration::from_secs(5));
    let redis = Redis::open_with(&cluster.urls(), config).unwrap();
    assert!(redis.is_cluster());
    for at in 0..60 {
        let sum: i64 = redis.run(&TWICE.key(format!("s:{{{at}}}")).arg(at)).await.unwrap();
        assert_eq!(sum, 2 * at);
    }
    for node in cluster.nodes() {
        node.script_flush().await;
    }
    let sum: i64 = redis.run(&TWICE.key("s:{7}").arg(1)).await.unwrap();
    assert_eq!(sum, 16);
}

#[tokio::test]
async fn a_dropped_call_leaves_the_handle_usable() {
    let server = scalekit_testkit::Redis::start().await;
    let proxy = Proxy::to(server.addr()).await;
    proxy.set_delay(Duration::from_millis(2));
    let url = format!("redis://{}", proxy.addr());
    let handle = std::cell::RefCell::new(patient(&url));
    let points = scalekit_testkit::drop_at_each_await(
        || {
            // A fresh handle, so that connecting is dropped too.
            *handle.borrow_mut() = patient(&url);
            let redis = handle.borrow().clone();
            async move { incr(&redis).await.unwrap() }
        },
        async |_| {
            let redis = handle.borrow().clone();
            incr(&redis).await.unwrap();
        },
    )
    .await;
    assert!(points >= 2, "connect and command: {points}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the process is to be held up")]
async fn a_process_that_was_held_up_itself_does_not_blame_the_server() {
    let server = scalekit_testkit::Redis::start().await;
    let redis = Redis::open(&server.url()).unwrap();
    incr(&redis).await.unwrap();
    for round in 0..20 {
        let asked = redis.clone();
        let answer = tokio::spawn(async move { incr(&asked).await });
        // The command is under way; then nothing of this process runs for longer than its budget.
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(answer.await.unwrap().unwrap(), round + 2, "the answer was there all the time");
        assert!(!redis.is_down());
    }
}
