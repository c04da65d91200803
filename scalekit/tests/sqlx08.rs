//! The claim and append statements from a program on an older sqlx: they are plain SQL over the same tables.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use scalekit::{
    db::{self, Claim, ClaimId, Claimed, sql::postgres as core_sql},
    outbox::{self, lane_of, sql::postgres as outbox_sql},
};
use sqlx_08::{Connection, Row};

#[tokio::test]
async fn an_older_sqlx_claims_and_appends_on_the_same_tables() {
    let database = scalekit_testkit::Postgres::shared().await.database().await;
    let pool = database.pool(2).await;
    db::migrate(&pool, &[db::MIGRATIONS, outbox::MIGRATIONS]).await.unwrap();
    let id = ClaimId::new("orders", [b"ada".as_slice(), b"key-1"]);

    let mut old = sqlx_08::PgConnection::connect(&database.url()).await.unwrap();
    let mut tx = old.begin().await.unwrap();
    let claim = |sql| {
        let query = sqlx_08::query(sql).bind(id.as_bytes().as_slice()).bind(None::<Vec<u8>>).bind(3600.0_f64);
        query.bind("10").bind("5000").bind("5000").bind("5000")
    };
    let row = claim(core_sql::CLAIM).fetch_one(&mut *tx).await.unwrap();
    assert!(row.get::<bool, _>("taken"));
    sqlx_08::query(core_sql::FINISH)
        .bind(id.as_bytes().as_slice())
        .bind(201_i16)
        .bind(b"".as_slice())
        .bind(Some(b"done".as_slice()))
        .bind(None::<Vec<u8>>)
        .execute(&mut *tx)
        .await
        .unwrap();
    let event = uuid::Uuid::now_v7();
    sqlx_08::query(outbox_sql::APPEND)
        .bind(vec![i16::from(lane_of("order-1"))])
        .bind(vec![event.to_string()])
        .bind(vec!["order.placed"])
        .bind(vec!["/orders"])
        .bind(vec!["order-1"])
        .bind(vec!["application/json"])
        .bind(vec![None::<String>])
        .bind(vec![None::<String>])
        .bind(vec![b"{}".to_vec()])
        .execute(&mut *tx)
        .await
        .unwrap();

    // The open claim of the one is busy for the other; committed, it is its record.
    let mut new = pool.begin().await.unwrap();
    assert_eq!(db::claim(&mut *new, &Claim::new(id)).await.unwrap(), Claimed::Busy);
    new.rollback().await.unwrap();
    tx.commit().await.unwrap();
    let mut new = pool.begin().await.unwrap();
    let Claimed::Before(record) = db::claim(&mut *new, &Claim::new(id)).await.unwrap() else {
        panic!("committed")
    };
    assert_eq!((record.answer.status, record.answer.body.as_deref()), (Some(201), Some(b"done".as_slice())));
    new.rollback().await.unwrap();

    // The other way round: what this sqlx claimed, the older one finds.
    let second = ClaimId::new("orders", [b"ada".as_slice(), b"key-2"]);
    let mut new = pool.begin().await.unwrap();
    assert!(matches!(db::claim(&mut *new, &Claim::new(second)).await.unwrap(), Claimed::Taken(_)));
    new.commit().await.unwrap();
    let mut tx = old.begin().await.unwrap();
    let row = sqlx_08::query(core_sql::CLAIM)
        .bind(second.as_bytes().as_slice())
        .bind(None::<Vec<u8>>)
        .bind(3600.0_f64);
    let row = row.bind("10").bind("5000").bind("5000").bind("5000").fetch_one(&mut *tx).await.unwrap();
    assert!(!row.get::<bool, _>("taken"));
    let appended: i64 = sqlx::query_scalar("select count(*) from scalekit.event where id = $1::text::uuid")
        .bind(event.to_string())
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(appended, 1);
}
