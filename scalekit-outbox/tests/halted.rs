//! A relay that is halted between a statement and its commit: the others go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use scalekit_core::db::Postgres;
use scalekit_outbox::{lane_of, sql::postgres as sql};
use scalekit_testkit::wait_until;
use sqlx::Transaction;
use support::{Kind as _, Ledger, SOON, Site};

/// A relay that has all lanes and whose window of the lane of "a" is open, with events 0 to 2 in it.
async fn halted() -> (Site<Postgres>, String) {
    let site = Postgres::site().await;
    let halted = uuid::Uuid::now_v7().to_string();
    sqlx::query(sql::BEAT).bind(&halted).fetch_one(&site.pool).await.unwrap();
    let owner = "update scalekit.lane set owner = $1::uuid, epoch = 1";
    sqlx::query(owner).bind(&halted).execute(&site.pool).await.unwrap();
    site.append("a", 0..3).await;
    (site, halted)
}

async fn open(site: &Site<Postgres>, halted: &str) -> (Transaction<'static, sqlx::Postgres>, i64) {
    let tick: i64 = sqlx::query_scalar(sql::TICK).fetch_one(&site.pool).await.unwrap();
    let mut tx = site.pool.begin().await.unwrap();
    let opened = sqlx::query(sql::OPEN).bind(halted).bind(Vec::<i16>::new()).bind(tick);
    assert_eq!(opened.execute(&mut *tx).await.unwrap().rows_affected(), 1);
    (tx, tick)
}

/// Another relay sends everything, although the halted one has neither committed nor gone.
async fn the_others_go_on(site: &Site<Postgres>, tx: Transaction<'static, sqlx::Postgres>) {
    let ledger = Arc::new(Ledger::default());
    let (relay, _workers) = site.run(ledger.clone());
    site.append("a", 3..5).await;
    ledger.until("all come", |ledger| ledger.of("a") == [0, 1, 2, 3, 4]).await;
    wait_until("nothing waits", SOON, async || relay.lag().await.unwrap().events == 0).await;
    assert!(tx.commit().await.is_err(), "its session was ended");
}

#[tokio::test]
async fn one_that_is_halted_while_it_opens_a_window_holds_nobody_up() {
    let (site, halted) = halted().await;
    let (tx, _) = open(&site, &halted).await;
    the_others_go_on(&site, tx).await;
}

#[tokio::test]
async fn one_that_is_halted_while_it_acknowledges_and_parks_holds_nobody_up() {
    let (site, halted) = halted().await;
    let (tx, tick) = open(&site, &halted).await;
    tx.commit().await.unwrap();
    let mut tx = site.pool.begin().await.unwrap();
    let lane = vec![i16::from(lane_of("a"))];
    let acked = sqlx::query(sql::ACK).bind(&halted).bind(&lane).bind(vec![1_i64]).bind(vec![3_i64]);
    assert_eq!(acked.bind(vec![true]).execute(&mut *tx).await.unwrap().rows_affected(), 1);
    let (xid, seq): (String, i64) =
        sqlx::query_as("select xid::text, min(seq) from scalekit.event group by 1")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
    let park = sqlx::query(sql::PARK).bind(&lane).bind(vec![tick]).bind(vec![xid]).bind(vec![seq]);
    let parked = park.bind(vec!["refused"]).bind(vec![Some(1.0)]).execute(&mut *tx).await.unwrap();
    assert_eq!(parked.rows_affected(), 1);
    the_others_go_on(&site, tx).await;
}

#[tokio::test]
async fn one_that_is_halted_while_it_lets_go_holds_nobody_up() {
    let (site, halted) = halted().await;
    let mut tx = site.pool.begin().await.unwrap();
    let released = sqlx::query(sql::RELEASE).bind(&halted).execute(&mut *tx).await.unwrap();
    assert_eq!(released.rows_affected(), 64);
    the_others_go_on(&site, tx).await;
}

#[tokio::test]
async fn one_that_is_halted_while_it_clears_parked_events_away_holds_nobody_up() {
    let site = Postgres::site().await;
    let ledger = Arc::new(Ledger::default());
    ledger.poison("a", 0, true);
    let (_relay, _workers) = site.run(ledger.clone());
    site.append("a", 0..3).await;
    let count = async || -> i64 {
        sqlx::query_scalar("select count(*) from scalekit.parked").fetch_one(&site.pool).await.unwrap()
    };
    wait_until("they are parked", SOON, async || count().await == 3).await;
    let mut tx = site.pool.begin().await.unwrap();
    assert_eq!(unpark_first(&mut tx, 0).await, 1);
    ledger.heal();
    wait_until("they are sent and gone", SOON, async || count().await == 0).await;
    assert!(tx.commit().await.is_err(), "its session was ended");
    let mut sent = ledger.of("a");
    sent.dedup();
    assert_eq!(sent, [0, 1, 2]);
}

/// Deletes the first parked event as the owner of its lane would, or as one of so many epochs ago; how many became due.
async fn unpark_first(conn: &mut sqlx::PgConnection, epochs_ago: i64) -> u64 {
    let (lane, tick, seq, owner, epoch): (i16, i64, i64, String, i64) = sqlx::query_as(
        "select q.lane, q.tick, q.seq, l.owner::text, l.epoch
           from scalekit.parked q join scalekit.lane l on l.lane = q.lane order by q.tick, q.seq limit 1",
    )
    .fetch_one(&mut *conn)
    .await
    .unwrap();
    let unpark = sqlx::query(sql::UNPARK).bind(owner).bind(vec![lane]).bind(vec![epoch - epochs_ago]);
    unpark.bind(vec![tick]).bind(vec![seq]).execute(conn).await.unwrap().rows_affected()
}

#[tokio::test]
async fn what_a_former_owner_says_of_parked_events_is_not_heard() {
    let site = Postgres::site().await;
    let ledger = Arc::new(Ledger::default());
    ledger.poison("a", 0, false);
    let (_relay, mut workers) = site.run(ledger.clone());
    site.append("a", 0..3).await;
    let parked = async || -> (i64, i64) {
        let count = "select count(*), count(retry_at) from scalekit.parked";
        sqlx::query_as(count).fetch_one(&site.pool).await.unwrap()
    };
    wait_until("they are parked", SOON, async || parked().await == (3, 0)).await;
    assert!(workers.drain(SOON).await);
    let other = uuid::Uuid::now_v7().to_string();
    let take = "update scalekit.lane set owner = $1::uuid, epoch = epoch + 1";
    sqlx::query(take).bind(&other).execute(&site.pool).await.unwrap();
    let mut conn = site.pool.acquire().await.unwrap();
    assert_eq!(unpark_first(&mut conn, 1).await, 0);
    let repark = "select tick, seq, (select epoch from scalekit.lane l where l.lane = q.lane)
                    from scalekit.parked q order by tick, seq limit 1";
    let (tick, seq, epoch): (i64, i64, i64) = sqlx::query_as(repark).fetch_one(&mut *conn).await.unwrap();
    for (said, heard) in [(epoch - 1, 0), (epoch, 1)] {
        let lane = vec![i16::from(lane_of("a"))];
        let refused = sqlx::query(sql::REPARK).bind(&other).bind(lane).bind(vec![said]);
        let refused = refused.bind(vec![tick]).bind(vec![seq]).bind(vec!["late"]).bind(vec![None::<f64>]);
        assert_eq!(refused.execute(&mut *conn).await.unwrap().rows_affected(), heard, "epoch {said}");
    }
    assert_eq!(parked().await, (3, 0), "nothing has changed");
    // The owner is heard, and the next of the key is due.
    assert_eq!(unpark_first(&mut conn, 0).await, 1);
    assert_eq!(parked().await, (2, 1));
}
