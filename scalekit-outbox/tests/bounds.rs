//! What is bounded: the bytes of one read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use scalekit_core::db::{Postgres, Sqlite};
use scalekit_outbox::sql;
use sqlx::Row as _;
use support::Kind as _;

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
