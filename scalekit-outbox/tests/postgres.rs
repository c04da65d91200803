//! What only Postgres can do to an outbox: snapshots, slow transactions, restarts, poolers, failover.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{collections::HashSet, sync::Arc, time::Duration};

use scalekit_core::{
    Worker, Workers,
    db::{self, PoolSource, Pooler, Postgres},
};
use scalekit_outbox::{Outbox, Relay, lane_of, sql};
use scalekit_testkit::{PgBouncer, Proxy, Rng, seed, wait_until};
use sqlx::{Connection as _, Executor as _, PgPool, SqlSafeStr as _};
use support::{Kind, Ledger, SOON, numbered};

fn run(pool: &PgPool, outbox: &Outbox, ledger: &Arc<Ledger>) -> (Arc<Relay>, Workers) {
    let source = PoolSource::new(pool.clone()).with_acquire_timeout(SOON);
    let relay = Relay::<Postgres>::new("east", Arc::new(source), ledger.clone()).unwrap();
    let relay = Arc::new(relay.with_outbox(outbox).with_lease(Duration::from_secs(1)));
    let mut workers = Workers::default();
    workers.spawn(Arc::clone(&relay) as Arc<dyn Worker>);
    (relay, workers)
}

async fn append(pool: &PgPool, outbox: &Outbox, key: &str, number: u64) {
    let mut tx = pool.begin().await.unwrap();
    outbox.append(&mut *tx, numbered(key, number)).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn every_statement_fits_the_schema() {
    let (pool, _database) = support::postgres(1).await;
    let mut conn = pool.acquire().await.unwrap();
    for (name, text) in sql::postgres::ALL {
        let prepared = (&mut *conn).prepare(text.into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {prepared:?}");
    }
    let site = db::Sqlite::site().await;
    let mut conn = site.pool.acquire().await.unwrap();
    for (name, text) in sql::sqlite::ALL {
        let prepared = (&mut *conn).prepare(text.into_sql_str()).await;
        assert!(prepared.is_ok(), "{name}: {prepared:?}");
    }
}

#[tokio::test]
async fn a_slow_transaction_is_neither_skipped_nor_put_out_of_order() {
    let (pool, _database) = support::postgres(10).await;
    let (outbox, ledger) = (Outbox::new(), Arc::new(Ledger::default()));
    let (_relay, _workers) = run(&pool, &outbox, &ledger);
    let other = (0..).map(|n| format!("k{n}")).find(|key| lane_of(key) == lane_of("slow")).unwrap();
    let mut slow = pool.begin().await.unwrap();
    outbox.append(&mut *slow, numbered("slow", 0)).await.unwrap();
    // Ticks pass it by, with events of its lane that were appended before and after it.
    for number in 0..30 {
        append(&pool, &outbox, &other, number).await;
        ledger.until("others pass", |ledger| ledger.of(&other).len() as u64 == number + 1).await;
    }
    assert!(ledger.of("slow").is_empty());
    outbox.append(&mut *slow, numbered("slow", 1)).await.unwrap();
    slow.commit().await.unwrap();
    append(&pool, &outbox, "slow", 2).await;
    ledger.until("it comes", |ledger| ledger.of("slow").len() >= 3).await;
    assert_eq!(ledger.of("slow"), [0, 1, 2]);
    assert_eq!(ledger.of(&other), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_key_stays_in_order_where_transaction_ids_do_not() {
    let (pool, _database) = support::postgres(10).await;
    sqlx::raw_sql(
        "create table noise (n int); create table turn (k int primary key); insert into turn values (1)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let (outbox, ledger) = (Outbox::new(), Arc::new(Ledger::default()));
    for round in 0..20 {
        // The second to write has the lower transaction id.
        let mut second = pool.begin().await.unwrap();
        sqlx::query("insert into noise values (1)").execute(&mut *second).await.unwrap();
        let mut first = pool.begin().await.unwrap();
        sqlx::query("select from turn for update").execute(&mut *first).await.unwrap();
        outbox.append(&mut *first, numbered("a", round * 2)).await.unwrap();
        first.commit().await.unwrap();
        sqlx::query("select from turn for update").execute(&mut *second).await.unwrap();
        outbox.append(&mut *second, numbered("a", round * 2 + 1)).await.unwrap();
        second.commit().await.unwrap();
    }
    let (_relay, _workers) = run(&pool, &outbox, &ledger);
    ledger.until("all come", |ledger| ledger.of("a").len() >= 40).await;
    assert_eq!(ledger.of("a"), (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_process_halted_in_its_tick_or_its_beat_holds_nobody_up() {
    let (pool, _database) = support::postgres(10).await;
    let (outbox, ledger) = (Outbox::new(), Arc::new(Ledger::default()));
    let mut ticking = pool.begin().await.unwrap();
    let tick: Option<i64> =
        sqlx::query_scalar(sql::postgres::TICK).fetch_optional(&mut *ticking).await.unwrap();
    let mut beating = pool.begin().await.unwrap();
    let stranger = uuid::Uuid::now_v7().to_string();
    let alone: bool =
        sqlx::query_scalar(sql::postgres::BEAT).bind(stranger).fetch_one(&mut *beating).await.unwrap();
    assert!(tick.is_some() && alone);
    append(&pool, &outbox, "a", 0).await;
    let (_relay, _workers) = run(&pool, &outbox, &ledger);
    ledger.until("it comes all the same", |ledger| ledger.of("a") == [0]).await;
    assert!(ticking.commit().await.is_err() && beating.commit().await.is_err(), "their sessions were ended");
}

#[tokio::test]
async fn a_process_halted_while_it_holds_lanes_keeps_them_no_longer_than_its_lease_and_its_session() {
    let (pool, _database) = support::postgres(10).await;
    let (outbox, ledger) = (Outbox::new(), Arc::new(Ledger::default()));
    let stranger = uuid::Uuid::now_v7().to_string();
    let none: Vec<i16> = Vec::new();
    let mut taking = pool.begin().await.unwrap();
    let take = sqlx::query(sql::postgres::TAKE).bind(&stranger).bind(1.0_f64);
    sqlx::query(sql::postgres::BEAT).bind(&stranger).execute(&mut *taking).await.unwrap();
    assert_eq!(take.execute(&mut *taking).await.unwrap().rows_affected(), 64);
    taking.commit().await.unwrap();
    append(&pool, &outbox, "a", 0).await;
    let tick: i64 = sqlx::query_scalar(sql::postgres::TICK).fetch_one(&pool).await.unwrap();
    // Halted between opening a window and its commit, and between moving other lanes up and the commit of that.
    let mut opening = pool.begin().await.unwrap();
    let open = sqlx::query(sql::postgres::OPEN).bind(&stranger).bind(&none).bind(tick);
    assert_eq!(open.execute(&mut *opening).await.unwrap().rows_affected(), 1);
    let mut advancing = pool.begin().await.unwrap();
    let own = vec![i16::from(lane_of("a"))];
    let advance = sqlx::query(sql::postgres::ADVANCE).bind(&stranger).bind(&own);
    assert_eq!(advance.execute(&mut *advancing).await.unwrap().rows_affected(), 63);
    let (_relay, _workers) = run(&pool, &outbox, &ledger);
    ledger.until("it comes all the same", |ledger| ledger.of("a") == [0]).await;
    assert!(
        opening.commit().await.is_err() && advancing.commit().await.is_err(),
        "their sessions were ended"
    );
}

#[tokio::test]
async fn a_restart_of_the_server_loses_nothing() {
    let server = scalekit_testkit::Postgres::start().await;
    let database = server.database().await;
    let pool = database.pool(10).await;
    db::migrate(&pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
    let (outbox, ledger) = (Outbox::new(), Arc::new(Ledger::default()));
    let (_relay, _workers) = run(&pool, &outbox, &ledger);
    for round in 0..3 {
        for number in 0..20 {
            append(&pool, &outbox, "a", round * 20 + number).await;
        }
        server.kill().await;
        server.restart().await;
        wait_until("it serves", SOON, async || pool.acquire().await.is_ok()).await;
    }
    ledger.until("all come", |ledger| ledger.of("a").contains(&59)).await;
    let mut seen = ledger.of("a");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_is_sent_that_a_crash_of_the_server_takes_back() {
    let mut rng = Rng::new(seed());
    let server = scalekit_testkit::Postgres::builder()
        .setting("synchronous_commit", "off")
        .setting("wal_writer_delay", "10s")
        .start()
        .await;
    let database = server.database().await;
    let pool = database.pool(10).await;
    db::migrate(&pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
    let (outbox, ledger) = (Outbox::new(), Arc::new(Ledger::default()));
    let (_relay, _workers) = run(&pool, &outbox, &ledger);
    for round in 0..5_u64 {
        let before = ledger.taken().len();
        let mut number = 0;
        while ledger.taken().len() < before + 5 + rng.below(20) as usize {
            append(&pool, &outbox, &format!("r{round}"), number).await;
            number += 1;
        }
        server.kill().await;
        server.restart().await;
        wait_until("it serves", SOON, async || pool.acquire().await.is_ok()).await;
        let there: Vec<String> =
            sqlx::query_scalar("select id::text from scalekit.event").fetch_all(&pool).await.unwrap();
        let there: HashSet<String> = there.into_iter().collect();
        let ghosts =
            ledger.taken().iter().filter(|(_, record)| !there.contains(&record.id.to_string())).count();
        assert_eq!(ghosts, 0, "round {round}: events were sent whose commit is gone");
    }
}

#[tokio::test]
async fn after_a_failover_places_in_the_log_go_on_upwards() {
    let primary = scalekit_testkit::Postgres::start().await;
    let database = primary.database().await;
    let pool = database.pool(10).await;
    db::migrate(&pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
    let (outbox, ledger) = (Outbox::new(), Arc::new(Ledger::default()));
    let (_relay, mut workers) = run(&pool, &outbox, &ledger);
    append(&pool, &outbox, "a", 0).await;
    ledger.until("the first comes", |ledger| ledger.of("a") == [0]).await;
    let replica = primary.replica().await;
    workers.drain(SOON).await;
    replica.promote().await;
    let promoted = PgPool::connect(&database.url_via(replica.addr())).await.unwrap();
    let (_relay, _workers) = run(&promoted, &outbox, &ledger);
    append(&promoted, &outbox, "a", 1).await;
    ledger.until("the second comes", |ledger| ledger.of("a").contains(&1)).await;
    let places: Vec<_> = ledger.taken().into_iter().map(|(_, record)| record.position).collect();
    let (first, last) = (places[0], places[places.len() - 1]);
    assert_eq!(last.cluster(), first.cluster() + 1);
    assert!(last > first);
}

#[tokio::test]
async fn a_pooler_that_mixes_statements_up_is_got_along_with() {
    let server = scalekit_testkit::Postgres::start().await;
    let database = server.database().await;
    let direct = database.pool(2).await;
    db::migrate(&direct, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
    let bouncer = PgBouncer::start(&server).await;
    let pool = PgPool::connect(&bouncer.url(&database)).await.unwrap();
    let (outbox, ledger) = (Outbox::new().with_pooler(Pooler::Legacy), Arc::new(Ledger::default()));
    let mut workers = Workers::default();
    let mut relays = Vec::new();
    for _ in 0..3 {
        let source = PoolSource::new(pool.clone()).with_acquire_timeout(SOON).with_pooler(Pooler::Legacy);
        let relay = Relay::<Postgres>::new("east", Arc::new(source), ledger.clone()).unwrap();
        let relay = Arc::new(relay.with_outbox(&outbox).with_lease(Duration::from_secs(1)));
        workers.spawn(Arc::clone(&relay) as Arc<dyn Worker>);
        relays.push(relay);
    }
    let keys: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    for number in 0..30 {
        for key in &keys {
            append(&pool, &outbox, key, number).await;
        }
    }
    ledger.until("all come", |ledger| keys.iter().all(|key| ledger.of(key).contains(&29))).await;
    for key in &keys {
        let mut seen = ledger.of(key);
        seen.dedup();
        assert_eq!(seen, (0..30).collect::<Vec<_>>(), "{key}");
    }
    wait_until("nothing waits", SOON, async || relays[0].lag().await.unwrap().events == 0).await;
    assert!(workers.drain(SOON).await);
}

#[tokio::test]
async fn an_append_is_one_round_trip_and_an_idle_relay_is_quiet() {
    let (pool, database) = support::postgres(2).await;
    let server = scalekit_testkit::Postgres::shared().await;
    let proxy = Proxy::to(server.addr()).await;
    let mut conn = sqlx::PgConnection::connect(&database.url_via(proxy.addr())).await.unwrap();
    let outbox = Outbox::new();
    let events: Vec<_> = (0..100).map(|number| numbered("a", number)).collect();
    let mut tx = conn.begin().await.unwrap();
    // The first prepares the statement.
    outbox.append(&mut *tx, &events).await.unwrap();
    proxy.reset();
    outbox.append(&mut *tx, &events).await.unwrap();
    assert_eq!(proxy.round_trips(), 1);
    tx.rollback().await.unwrap();

    let through = PgPool::connect(&database.url_via(proxy.addr())).await.unwrap();
    let ledger = Arc::new(Ledger::default());
    let source = PoolSource::new(through).with_acquire_timeout(SOON);
    let relay = Relay::<Postgres>::new("east", Arc::new(source), ledger.clone()).unwrap();
    let mut workers = Workers::default();
    workers.spawn(Arc::new(relay.with_outbox(&outbox)));
    append(&pool, &outbox, "a", 0).await;
    ledger.until("it works", |ledger| !ledger.taken().is_empty()).await;
    // It looks less and less often, until a second has no more than two looks and a renewal of the lease in it.
    wait_until("it is quiet", SOON, async || {
        proxy.reset();
        tokio::time::sleep(Duration::from_secs(1)).await;
        (1..=16).contains(&proxy.round_trips())
    })
    .await;
}
