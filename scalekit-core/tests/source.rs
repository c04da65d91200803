//! A source fails fast while its server is down, recovers by itself, and hands out only clean connections.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{SOON, database, notes, pool, shared, source, wait_no_transaction, write};
use scalekit_core::{ErrorKind, db::PoolSource};
use scalekit_testkit::{Postgres, Proxy, at_once, drop_at_each_await, evidence, full, wait_until};

/// Far above the 500 ms that a request waits: machines that test are busy. The soak run judges the time itself.
const BOUND: Duration = Duration::from_secs(5);

async fn fails(source: &PoolSource) -> Duration {
    let start = Instant::now();
    let error = source.open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.retry_after().is_some());
    assert!(start.elapsed() < BOUND, "it took {:?}", start.elapsed());
    start.elapsed()
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_asked_once_per_probe() {
    let server = Postgres::start().await;
    let database = database(&server).await;
    let proxy = Proxy::to(server.addr()).await;
    let source = source(&database.url_via(proxy.addr()), 10);
    drop(source.open().await.unwrap());
    server.kill().await;
    fails(&source).await;
    assert!(source.is_down());
    let (tried, start) = (proxy.connections(), Instant::now());
    let (mut slowest, mut begins) = (Duration::ZERO, 0);
    while begins < 1_000 || start.elapsed() < Duration::from_millis(350) {
        slowest = slowest.max(fails(&source).await);
        begins += 1;
    }
    // One probe per 100 ms that passed, each of which may connect twice.
    let probes = 1 + start.elapsed().as_millis() / 100;
    let tried = u128::from(proxy.connections() - tried);
    assert!((1..=2 * probes).contains(&tried), "{tried} connections in {:?}", start.elapsed());
    server.restart().await;
    let restarted = Instant::now();
    wait_until("transactions begin again", SOON, async || source.open().await.is_ok()).await;
    let recovered = restarted.elapsed();
    assert!(!source.is_down());
    let outcome = format!("slowest {slowest:?}, {tried} connections tried; back after {recovered:?}");
    evidence("Postgres refuses connections", &format!("{begins} begins"), &outcome);
    assert!(!full() || recovered < Duration::from_secs(1), "{recovered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_survived_by_all_waiting_requests_and_every_stale_connection() {
    let server = Postgres::start().await;
    let database = database(&server).await;
    let source = source(&database.url(), 10);
    // Ten idle connections that the restart breaks.
    let held = at_once(10, |_| {
        let source = source.clone();
        async move { source.open().await.unwrap() }
    })
    .await;
    drop(held);
    wait_until("all are released", SOON, async || source.pool().num_idle() == 10).await;
    server.restart().await;
    let begun = at_once(10, |_| {
        let source = source.clone();
        async move { source.open().await.map(drop).map_err(|error| error.kind()) }
    })
    .await;
    assert!(begun.iter().all(|outcome| matches!(outcome, Ok(()) | Err(ErrorKind::Unavailable))), "{begun:?}");
    wait_until("transactions begin again", SOON, async || source.open().await.is_ok()).await;
    wait_no_transaction(&pool(&database.url(), 1)).await;
}

#[tokio::test]
async fn one_request_gets_past_any_number_of_stale_connections() {
    let server = Postgres::start().await;
    let database = database(&server).await;
    let source = source(&database.url(), 10).with_acquire_timeout(SOON);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(source.open().await.unwrap());
    }
    drop(held);
    wait_until("all are released", SOON, async || source.pool().num_idle() == 10).await;
    server.restart().await;
    source.open().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_bounded_time_and_then_none() {
    let server = Postgres::start().await;
    let database = database(&server).await;
    let source = source(&database.url(), 2);
    drop(source.open().await.unwrap());
    wait_until("it is released", SOON, async || source.pool().num_idle() == 1).await;
    server.pause().await;
    let mut waits = Vec::new();
    for _ in 0..3 {
        waits.push(fails(&source).await);
    }
    assert!(source.is_down(), "three time-outs in a row are down");
    let at_once = fails(&source).await;
    assert!(at_once < waits[0], "{at_once:?} after {waits:?}");
    server.resume();
    wait_until("transactions begin again", SOON, async || source.open().await.is_ok()).await;
    // The BEGINs that were given up on are not open in some connection of the pool.
    wait_no_transaction(&pool(&database.url(), 1)).await;
    let outcome = format!("given up after {waits:?}, then after {at_once:?}");
    evidence("Postgres hangs", &format!("{} begins", waits.len() + 1), &outcome);
    let late = |wait: &Duration| *wait > Duration::from_millis(600);
    assert!(!full() || !waits.iter().any(late), "{waits:?}");
}

#[tokio::test]
async fn a_transaction_dropped_on_a_server_that_hangs_gives_its_permit_back() {
    let database = shared().await;
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    let source = source(&database.url_via(proxy.addr()), 1);
    let mut tx = source.open().await.unwrap();
    write(&mut tx, "lost").await;
    proxy.blackhole().await;
    drop(tx);
    wait_until("the pool has given the connection up", SOON, async || source.pool().size() == 0).await;
    proxy.heal().await;
    wait_until("transactions begin again", SOON, async || source.open().await.is_ok()).await;
    assert_eq!(notes(source.pool()).await, [""; 0]);
}

#[tokio::test]
async fn a_begin_that_is_dropped_anywhere_leaves_no_transaction_behind() {
    let server = Postgres::start().await;
    let database = database(&server).await;
    let plain = pool(&database.url(), 1);
    // A server that answers at once would not make each await wait.
    let proxy = Proxy::to(server.addr()).await;
    proxy.set_delay(Duration::from_millis(2));
    let source = source(&database.url_via(proxy.addr()), 1);
    for idle in [false, true] {
        let begin = || async { source.open().await.map(drop).unwrap() };
        let points = drop_at_each_await(begin, async |_| {
            wait_no_transaction(&plain).await;
            if !idle {
                source.pool().acquire().await.unwrap().close_on_drop();
            }
            let mut tx = source.open().await.unwrap();
            write(&mut tx, "lost").await;
            drop(tx);
            wait_no_transaction(&plain).await;
        })
        .await;
        assert!(points >= 1);
    }
    let log = server.log_tail();
    assert!(!log.contains("WARNING"), "{log}");
}

#[tokio::test]
async fn a_full_pool_is_not_a_server_that_is_down() {
    let database = shared().await;
    let source = source(&database.url(), 1).with_acquire_timeout(Duration::from_millis(100));
    let held = source.open().await.unwrap();
    for _ in 0..5 {
        fails(&source).await;
    }
    assert!(!source.is_down());
    drop(held);
    source.open().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_server_with_too_many_clients_is_unavailable() {
    let server = Postgres::builder().setting("max_connections", "5").start().await;
    let database = database(&server).await;
    let mut held = Vec::new();
    let other = pool(&database.url(), 10).clone();
    while let Ok(Ok(conn)) = tokio::time::timeout(Duration::from_secs(1), other.acquire()).await {
        held.push(conn);
    }
    let source = source(&database.url(), 1);
    fails(&source).await;
    drop(held);
    other.close().await;
    wait_until("transactions begin again", SOON, async || source.open().await.is_ok()).await;
}
