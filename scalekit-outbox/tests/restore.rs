//! Databases that were dumped and restored, or put back to an earlier state: nothing is lost, nothing is mixed up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use redis::streams::StreamRangeReply;
use scalekit_core::{
    Worker, Workers,
    db::{self, PoolSource, Postgres},
    redis::{Redis, cmd},
};
use scalekit_outbox::{Outbox, RedisSink, Relay, Sink, lane_of, sql};
use scalekit_testkit::{Database, PostgresServer, evidence, full, wait_until};
use sqlx::PgPool;
use support::{Ledger, SOON, numbered};

fn relay(pool: &PgPool, sink: Arc<dyn Sink>) -> (Arc<Relay>, Workers) {
    let source = PoolSource::new(pool.clone()).with_acquire_timeout(SOON);
    let relay = Relay::<Postgres>::new("east", Arc::new(source), sink).unwrap();
    let relay = relay.with_lease(Duration::from_secs(1)).with_retention(Duration::ZERO);
    let relay = Arc::new(relay);
    let mut workers = Workers::default();
    workers.spawn(Arc::clone(&relay) as Arc<dyn Worker>);
    (relay, workers)
}

async fn append(pool: &PgPool, key: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let mut tx = pool.begin().await.unwrap();
        if number % 3 == 0 {
            // In a savepoint the row is written under another id than the transaction's.
            let mut inner = sqlx::Acquire::begin(&mut *tx).await.unwrap();
            Outbox::new().append(&mut *inner, numbered(key, number)).await.unwrap();
            inner.commit().await.unwrap();
        } else {
            Outbox::new().append(&mut *tx, numbered(key, number)).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
}

/// Makes the server's transaction ids go on by so many.
async fn age(pool: &PgPool, by: i32) {
    let mut conn = pool.acquire().await.unwrap();
    sqlx::query("select set_config('test.by', $1, false)")
        .bind(by.to_string())
        .execute(&mut *conn)
        .await
        .unwrap();
    let age = "do $$ begin for i in 1..current_setting('test.by')::int loop
                   perform pg_current_xact_id(); commit; end loop; end $$";
    sqlx::raw_sql(age).execute(&mut *conn).await.unwrap();
}

async fn fresh(server: &PostgresServer) -> (Database, PgPool) {
    let database = server.database().await;
    let pool = database.pool(10).await;
    (database, pool)
}

/// A database whose relay has sent `a` 0..10 and, of an open window, some of `b`, and has then stopped.
async fn left_behind(pool: &PgPool, ledger: &Arc<Ledger>) {
    db::migrate(pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
    let (one, mut workers) = relay(pool, ledger.clone());
    append(pool, "a", 0..10).await;
    wait_until("the first are acknowledged", SOON, async || {
        ledger.of("a").len() == 10 && one.lag().await.unwrap().events == 0
    })
    .await;
    assert!(workers.drain(SOON).await);
    append(pool, "a", 10..20).await;
    // More than one batch, of which one is sent and acknowledged.
    append(pool, "b", 0..300).await;
    let door = ledger.shut();
    let (_two, workers) = relay(pool, ledger.clone());
    let lanes = if lane_of("a") == lane_of("b") { 1 } else { 2 };
    ledger.until_at_door(lanes).await;
    door.add_permits(lanes);
    ledger.until_at_door(lanes + 1).await;
    drop(workers);
    ledger.open();
}

#[tokio::test]
async fn a_restored_dump_loses_nothing_whatever_the_transaction_ids_of_its_new_home() {
    let rounds = if full() { 20 } else { 1 };
    let server = scalekit_testkit::Postgres::builder().own_system().start().await;
    let home = scalekit_testkit::Postgres::builder().own_system().start().await;
    let (_database, at_home) = fresh(&home).await;
    let (_other, at_server) = fresh(&server).await;
    age(&at_server, 5_000).await;
    for round in 0..rounds {
        for higher in [false, true] {
            let (database, pool) = fresh(&server).await;
            let ledger = Arc::new(Ledger::default());
            left_behind(&pool, &ledger).await;
            if higher {
                outrun(&at_home, &at_server).await
            } else {
                outrun(&at_server, &at_home).await
            }
            let (restored, pool) = fresh(&home).await;
            restored.restore(&database.dump());
            // The service runs before any relay does.
            append(&pool, "a", 20..26).await;
            let (one, _workers) = relay(&pool, ledger.clone());
            let (two, _workers_too) = relay(&pool, ledger.clone());
            ledger
                .until("the rest comes", |ledger| {
                    ledger.of("a").last() == Some(&25) && ledger.of("b").last() == Some(&299)
                })
                .await;
            append(&pool, "a", 26..30).await;
            ledger.until("what is new comes", |ledger| ledger.of("a").last() == Some(&29)).await;
            wait_until("nothing waits", SOON, async || one.lag().await.unwrap().events == 0).await;
            assert_eq!(two.lag().await.unwrap().events, 0);
            assert!(ledger.of("a").into_iter().eq(0..30), "round {round}: {:?}", ledger.of("a"));
            // A batch that was under way comes again; there is no gap, and no event before one it follows.
            let mut next = 0;
            for number in ledger.of("b") {
                assert!(number <= next, "round {round}: {number} before {next}");
                next = next.max(number + 1);
            }
            assert_eq!(next, 300, "round {round}");
            let places: Vec<_> = ledger.taken().into_iter().map(|(_, record)| record.position).collect();
            assert!(places.last() > places.first(), "places go on upwards");
        }
    }
    evidence(
        "a dump restored into a system with lower, and with higher, transaction ids",
        &format!("{rounds} times each, the service ahead of the relays"),
        "nothing lost, nothing out of order, nothing that was acknowledged sent again",
    );
}

/// Makes a server have had more transactions than another.
async fn outrun(one: &PgPool, other: &PgPool) {
    let at = async |pool: &PgPool| -> i64 {
        let xmax = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
        sqlx::query_scalar(xmax).fetch_one(pool).await.unwrap()
    };
    let behind = at(other).await - at(one).await + 2_000;
    age(one, i32::try_from(behind.max(0)).unwrap()).await;
}

#[tokio::test]
async fn a_dump_of_an_outbox_whose_relay_never_ran_comes_in_order() {
    let server = scalekit_testkit::Postgres::builder().own_system().start().await;
    let home = scalekit_testkit::Postgres::builder().own_system().start().await;
    let (database, pool) = fresh(&server).await;
    db::migrate(&pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
    age(&pool, 5_000).await;
    append(&pool, "a", 0..10).await;
    let (restored, pool) = fresh(&home).await;
    restored.restore(&database.dump());
    append(&pool, "a", 10..20).await;
    let ledger = Arc::new(Ledger::default());
    let (_relay, _workers) = relay(&pool, ledger.clone());
    ledger.until("all come", |ledger| ledger.of("a").len() >= 20).await;
    assert!(ledger.of("a").into_iter().eq(0..20), "{:?}", ledger.of("a"));
}

#[tokio::test]
async fn ticks_of_another_system_neither_open_a_window_nor_move_a_lane_nor_sweep_an_event() {
    let server = scalekit_testkit::Postgres::builder().own_system().start().await;
    let home = scalekit_testkit::Postgres::builder().own_system().start().await;
    let (_first, first) = fresh(&server).await;
    age(&first, 5_000).await;
    let (database, pool) = fresh(&server).await;
    let ledger = Arc::new(Ledger::default());
    left_behind(&pool, &ledger).await;
    let (restored, pool) = fresh(&home).await;
    restored.restore(&database.dump());
    append(&pool, "a", 20..26).await;
    // What a relay would do that runs while its database is exchanged under it.
    let relay = uuid::Uuid::now_v7().to_string();
    sqlx::query("update scalekit.lane set owner = $1::uuid, next_tick = null")
        .bind(&relay)
        .execute(&pool)
        .await
        .unwrap();
    let tick: i64 = sqlx::query_scalar(sql::postgres::TICK).fetch_one(&pool).await.unwrap();
    let none: Vec<i16> = Vec::new();
    let opened = sqlx::query(sql::postgres::OPEN).bind(&relay).bind(&none).bind(tick);
    let opened = opened.execute(&pool).await.unwrap().rows_affected();
    let stand = "select lane, tick from scalekit.lane where lane = any ($1) order by lane";
    let lanes = vec![i16::from(lane_of("a")), i16::from(lane_of("b"))];
    let before: Vec<(i16, i64)> = sqlx::query_as(stand).bind(&lanes).fetch_all(&pool).await.unwrap();
    sqlx::query(sql::postgres::ADVANCE).bind(&relay).bind(&none).execute(&pool).await.unwrap();
    let after: Vec<(i16, i64)> = sqlx::query_as(stand).bind(&lanes).fetch_all(&pool).await.unwrap();
    let swept = sqlx::query(sql::postgres::SWEEP_EVENTS).bind(&relay).bind(0.0_f64).bind(1_000_i64);
    let swept = swept.execute(&pool).await.unwrap().rows_affected();
    assert_eq!((opened, swept, after), (0, 0, before));
    let (_, _, moved): (String, String, bool) =
        sqlx::query_as(sql::postgres::REBASE_LOOK).fetch_one(&pool).await.unwrap();
    assert!(moved);
}

#[tokio::test]
async fn a_database_that_was_put_back_goes_on_in_a_new_epoch() {
    let redis = scalekit_testkit::Redis::start().await;
    let streams = Redis::open(&redis.url()).unwrap();
    let sink = Arc::new(RedisSink::new(streams.clone(), "shop").unwrap());
    let (pool, _database) = support::postgres(10).await;
    let entries = async || -> StreamRangeReply {
        let stream = format!("shop:e:{{east.{}}}", lane_of("a"));
        streams.query(cmd("XRANGE").arg(stream).arg("-").arg("+")).await.unwrap()
    };
    let numbers = |found: &StreamRangeReply| -> Vec<u64> {
        found.ids.iter().map(|entry| entry.get::<String>("data").unwrap().parse().unwrap()).collect()
    };
    append(&pool, "a", 0..5).await;
    let (_relay, mut workers) = relay(&pool, sink.clone());
    wait_until("the first are there", SOON, async || numbers(&entries().await).len() == 5).await;
    assert!(workers.drain(SOON).await);
    sqlx::raw_sql(
        "create table put_by as select * from scalekit.lane; create table ticks as select * from scalekit.tick",
    )
    .execute(&pool)
    .await
    .unwrap();
    append(&pool, "a", 5..10).await;
    let (_relay, mut workers) = relay(&pool, sink.clone());
    wait_until("the next are there", SOON, async || numbers(&entries().await).len() == 10).await;
    assert!(workers.drain(SOON).await);
    // As a copy of the files from before would have it: events, ticks and lanes of the second part are gone.
    sqlx::raw_sql(
        "delete from scalekit.event where seq > 5; delete from scalekit.lane; delete from scalekit.tick;
         insert into scalekit.tick select * from ticks; insert into scalekit.lane select * from put_by;
         select setval('scalekit.event_seq_seq', 5)",
    )
    .execute(&pool)
    .await
    .unwrap();
    append(&pool, "a", 100..105).await;
    let (relay, _workers) = relay(&pool, sink);
    let before = numbers(&entries().await);
    relay.rebase().await.unwrap();
    append(&pool, "a", 105..106).await;
    wait_until("what is new arrives", SOON, async || numbers(&entries().await).ends_with(&[105])).await;
    let after = numbers(&entries().await);
    assert_eq!(after[..before.len()], before);
    assert!(after.ends_with(&[100, 101, 102, 103, 104, 105]), "{after:?}");
}
