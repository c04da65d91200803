//! Slots that move to another node and back while they are written: no error, no command lost, none executed twice.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use scalekit_core::redis::{Redis, RedisConfig, Script, cmd, pipe};
use scalekit_testkit::{Rng, evidence, full, seed};

const LONG: Duration = Duration::from_secs(30);

static BOTH: Script = Script::new(
    "-- Adds 1 to KEYS[1] and KEYS[2]. Returns the second. Atomic: nobody reads the half.\n\
     redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[2])",
);

/// Keys of one slot; each writer adds to two of them at a time.
const KEYS: u64 = 20;
const WRITERS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_under_load() {
    let seed = seed();
    let cluster = scalekit_testkit::Redis::cluster(3).await;
    let slot = cluster.slot_of("{moving}").await;
    let home = cluster.node_of("{moving}").await;
    let config = RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            // Each learns for itself.
            let redis = Redis::open_with(&cluster.urls(), config.clone()).unwrap();
            tokio::spawn(write(redis, Rng::new(seed + number), Arc::clone(&stop)))
        })
        .collect();
    let rounds = if full() { 100 } else { 6 };
    for round in 0..rounds {
        let (from, to) = ((home + round) % 3, (home + round + 1) % 3);
        cluster.begin_move(slot, from, to).await;
        // Most keys are on both sides for a while; with so few at a time, scripts find one key here and one there.
        while cluster.move_keys(slot, from, to, 1).await {}
        cluster.end_move(slot, from, to).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    let mut added = vec![0_u64; usize::try_from(KEYS).unwrap()];
    for writer in writers {
        for (sum, one) in added.iter_mut().zip(writer.await.unwrap()) {
            *sum += one;
            sent += one;
        }
    }
    let redis = Redis::open_with(&cluster.urls(), config).unwrap();
    for (number, added) in added.iter().enumerate() {
        let count: Option<u64> = redis.query(cmd("GET").arg(key(number as u64))).await.unwrap();
        assert_eq!(count.unwrap_or_default(), *added, "{}", key(number as u64));
    }
    assert!(sent > 100, "{sent}");
    evidence(
        "a Cluster slot migrated under load, key by key",
        &format!("{rounds} moves, {sent} increments"),
        "0 errors, all counters exact",
    );
}

#[tokio::test]
async fn keys_that_are_ahead_of_their_slot_are_served_where_they_are() {
    let cluster = scalekit_testkit::Redis::cluster(3).await;
    let slot = cluster.slot_of("{moving}").await;
    let from = cluster.node_of("{moving}").await;
    let to = (from + 1) % 3;
    let config = RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG);
    let redis = Redis::open_with(&cluster.urls(), config).unwrap();
    let (a, b) = (key(1), key(2));
    let () = redis.query(cmd("MSET").arg(&[&a, "0", &b, "0"])).await.unwrap();
    // The slot stays where it is until the end of the test; one of its keys goes, then the other.
    cluster.begin_move(slot, from, to).await;
    assert!(cluster.move_keys(slot, from, to, 1).await);
    let each: (u64, u64) = redis.pipeline(pipe().incr(&a, 1).incr(&b, 1)).await.unwrap();
    assert_eq!(each, (1, 1), "one is here, one is there");
    let both = tokio::spawn({
        let (redis, a, b) = (redis.clone(), a.clone(), b.clone());
        async move { redis.run::<u64>(&BOTH.key(&a).key(&b)).await }
    });
    assert!(cluster.move_keys(slot, from, to, 1).await);
    assert_eq!(both.await.unwrap().unwrap(), 2, "it waits until both are in one place");
    assert_eq!(redis.run::<u64>(&BOTH.key(&a).key(&b)).await.unwrap(), 3);
    let each: (u64, u64) = redis.pipeline(pipe().incr(&a, 1).incr(&b, 1)).await.unwrap();
    assert_eq!(each, (4, 4));
    let atomic: (u64, u64) = redis.pipeline(pipe().atomic().incr(&a, 1).incr(&b, 1)).await.unwrap();
    assert_eq!(atomic, (5, 5));
    assert_eq!(redis.query::<u64>(cmd("INCR").arg(&a)).await.unwrap(), 6);
    cluster.end_move(slot, from, to).await;
    assert_eq!(redis.query::<u64>(cmd("INCR").arg(&b)).await.unwrap(), 6);
}

fn key(number: u64) -> String {
    format!("{{moving}}:{number}")
}

/// How much was added to each key.
async fn write(redis: Redis, mut rng: Rng, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut added = vec![0; usize::try_from(KEYS).unwrap()];
    while !stop.load(Ordering::Relaxed) {
        let (a, b) = (rng.below(KEYS), rng.below(KEYS));
        let (one, other) = (key(a), key(b));
        match rng.below(4) {
            0 => {
                let _: u64 = redis.run(&BOTH.key(&one).key(&other)).await.unwrap();
            }
            1 => {
                let _: (u64, u64) = redis.pipeline(pipe().incr(&one, 1).incr(&other, 1)).await.unwrap();
            }
            2 => {
                let both = pipe().atomic().incr(&one, 1).incr(&other, 1).clone();
                let _: (u64, u64) = redis.pipeline(&both).await.unwrap();
            }
            _ => {
                let _: u64 = redis.query(cmd("INCR").arg(&one)).await.unwrap();
                let _: u64 = redis.query(cmd("INCR").arg(&other)).await.unwrap();
            }
        }
        for place in [a, b] {
            added[usize::try_from(place).unwrap()] += 1;
        }
    }
    added
}
