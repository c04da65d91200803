//! What is bounded: the bytes of one read, how long events are kept, and what a failing sweep keeps up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use scalekit_core::{
    Workers,
    db::{Postgres, Sqlite},
};
use scalekit_outbox::sql;
use scalekit_testkit::wait_until;
use sqlx::Row as _;
use support::{Kind as _, Ledger};

/// A sweep comes ten seconds after the start.
const SWEPT: Duration = Duration::from_secs(40);

/// The bytes after which no further event is added to a batch, and the size of one event.
const BATCH: i64 = 1 << 20;
const EVENT: i64 = 256 << 10;

#[tokio::test]
async fn parked_events_are_read_in_batches_of_bounded_bytes_on_postgres() {
    let site = Postgres::site().await;
    let me = uuid::Uuid::now_v7().to_string();
    let park = "insert into scalekit.parked (lane, tick, seq, id, type, source, key, datacontenttype, data, at, retry_at)
        select 7, 1, n, gen_random_uuid(), 't', 's', 'k', 'x', decode(repeat('00', $1), 'hex'), now(), now()
          from generate_series(1, 40) n";
    sqlx::query(park).bind(EVENT as i32).execute(&site.pool).await.unwrap();
    sqlx::query("update scalekit.lane set owner = $1::uuid").bind(&me).execute(&site.pool).await.unwrap();
    let tick: i64 = sqlx::query_scalar(sql::postgres::TICK).fetch_one(&site.pool).await.unwrap();
    let none: Vec<i16> = Vec::new();
    let due = sqlx::query(sql::postgres::DUE).bind(&me).bind(&none).bind(128_i64).bind(tick).bind(BATCH);
    let found = due.fetch_all(&site.pool).await.unwrap();
    let seqs: Vec<i64> = found.iter().map(|row| row.get("seq")).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
}

#[tokio::test]
async fn events_are_read_in_batches_of_bounded_bytes_on_sqlite() {
    let site = Sqlite::site().await;
    for number in 1..=40 {
        for text in [
            "insert into scalekit_parked (lane, seq, id, type, source, key, datacontenttype, data, at, retry_at)
             values (7, ?1, 'i', 't', 's', 'k', 'x', zeroblob(?2), 0, 0)",
            "insert into scalekit_event (lane, seq, id, type, source, key, datacontenttype, data)
             values (7, ?1, 'i', 't', 's', 'k', 'x', zeroblob(?2))",
        ] {
            sqlx::query(text).bind(number).bind(EVENT).execute(&site.pool).await.unwrap();
        }
    }
    let due = sqlx::query(sql::sqlite::DUE).bind(7).bind(128).bind(BATCH);
    let seqs: Vec<i64> = due.fetch_all(&site.pool).await.unwrap().iter().map(|row| row.get("seq")).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    let read = sqlx::query(sql::sqlite::READ).bind(7).bind(10).bind(128).bind(BATCH);
    let seqs: Vec<i64> = read.fetch_all(&site.pool).await.unwrap().iter().map(|row| row.get("seq")).collect();
    assert_eq!(seqs, [11, 12, 13, 14]);
}

#[tokio::test]
async fn the_longest_retention_keeps_all_events_and_lets_snapshots_go() {
    snapshots_are_deleted(Duration::MAX, "select").await;
}

#[tokio::test]
async fn events_that_cannot_be_deleted_let_snapshots_go() {
    let refuse = "create function refuse() returns trigger language plpgsql as
            'begin raise exception ''no''; end';
        create trigger refuse before delete on scalekit.event execute function refuse()";
    snapshots_are_deleted(Duration::ZERO, refuse).await;
}

async fn snapshots_are_deleted(retention: Duration, setup: &'static str) {
    let site = Postgres::site().await;
    sqlx::raw_sql(setup).execute(&site.pool).await.unwrap();
    let ledger = Arc::new(Ledger::default());
    let mut workers = Workers::default();
    workers.spawn(Arc::new(site.relay(ledger.clone()).with_retention(retention)));
    for number in 0..20 {
        site.append("a", [number]).await;
        ledger.until("it is sent", |ledger| ledger.of("a").contains(&number)).await;
    }
    let count =
        async |text: &'static str| -> i64 { sqlx::query_scalar(text).fetch_one(&site.pool).await.unwrap() };
    assert!(count("select count(*) from scalekit.tick").await >= 20);
    wait_until("snapshots are deleted", SWEPT, async || {
        count("select count(*) from scalekit.tick").await < 5
    })
    .await;
    assert_eq!(count("select count(*) from scalekit.event").await, 20);
}
