//! A rebase beside everything else that goes on: appending, other relays, a stop half-way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{sync::Arc, time::Duration};

use scalekit_core::db::Postgres;
use scalekit_outbox::{Outbox, lane_of, sql::postgres as sql};
use scalekit_testkit::{evidence, full, wait_until};
use sqlx::{Acquire as _, PgPool};
use support::{Kind as _, Ledger, SOON, Site, numbered};
use tokio::task::JoinSet;

/// Makes the database look as if it had been moved here from another system.
async fn moved(pool: &PgPool) {
    let moved = "update scalekit.tick set cluster = '1/00000001'";
    sqlx::query(moved).execute(pool).await.unwrap();
}

/// Each key's events from 0 on without a gap; one that comes again comes after those before it.
fn in_order(ledger: &Ledger, key: &str, count: u64) {
    let mut next = 0;
    for number in ledger.of(key) {
        assert!(number <= next, "{key}: {number} came before {next}");
        next = next.max(number + 1);
    }
    assert_eq!(next, count, "of {key}");
}

#[tokio::test]
async fn rows_that_were_copied_without_their_sequence_keep_their_order() {
    let site = Postgres::site().await;
    let ledger = Arc::new(Ledger::default());
    let (relay, mut workers) = site.run(ledger.clone());
    site.append("a", 0..10).await;
    wait_until("the first are acknowledged", SOON, async || {
        ledger.of("a").len() == 10 && relay.lag().await.unwrap().events == 0
    })
    .await;
    assert!(workers.drain(SOON).await);
    site.append("a", 10..20).await;
    moved(&site.pool).await;
    // As logical replication leaves it: the rows are there, and their numbers begin anew.
    sqlx::query("select setval('scalekit.event_seq_seq', 1, false)").execute(&site.pool).await.unwrap();
    for number in 20..35 {
        site.append("a", [number]).await;
    }
    let mut running = site.begin().await;
    Outbox::new().append(&mut *running, numbered("b", 0)).await.unwrap();
    let (relay, _workers) = site.run(ledger.clone());
    ledger.until("all of it comes", |ledger| ledger.of("a").last() == Some(&34)).await;
    running.commit().await.unwrap();
    site.append("a", 35..37).await;
    site.append("b", 1..3).await;
    ledger
        .until("what is new comes", |ledger| {
            ledger.of("a").last() == Some(&36) && ledger.of("b").last() == Some(&2)
        })
        .await;
    wait_until("nothing waits", SOON, async || relay.lag().await.unwrap().events == 0).await;
    assert!(ledger.of("a").into_iter().eq(0..37), "{:?}", ledger.of("a"));
    assert_eq!(ledger.of("b"), [0, 1, 2]);
    let mut places: Vec<_> = ledger.taken().into_iter().map(|(_, record)| record.position).collect();
    let all = places.len();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), all, "no two events have one place");
}

/// Appends these to two lanes in turn after the sequence was left behind, so that no number comes twice in one of them.
#[tokio::test]
async fn numbers_that_interleave_with_those_of_older_rows_do_not_decide() {
    let site = Postgres::site().await;
    let ledger = Arc::new(Ledger::default());
    let other = (0..).map(|n| format!("o{n}")).find(|key| lane_of(key) != lane_of("a")).unwrap();
    for number in 0..8 {
        site.append("a", [number]).await;
        site.append(&other, [number]).await;
    }
    moved(&site.pool).await;
    sqlx::query("select setval('scalekit.event_seq_seq', 1, false)").execute(&site.pool).await.unwrap();
    for number in 8..20 {
        site.append(&other, [number]).await;
        site.append("a", [number]).await;
    }
    let (_relay, _workers) = site.run(ledger.clone());
    for key in ["a", &other] {
        ledger.until("all come", |ledger| ledger.of(key).len() >= 20).await;
        in_order(&ledger, key, 20);
    }
}

#[tokio::test]
async fn numbers_of_rows_that_are_acknowledged_do_not_decide() {
    let site = Postgres::site().await;
    let ledger = Arc::new(Ledger::default());
    let (relay, mut workers) = site.run(ledger.clone());
    site.append("a", 0..10).await;
    wait_until("the first are acknowledged", SOON, async || {
        ledger.of("a").len() == 10 && relay.lag().await.unwrap().events == 0
    })
    .await;
    assert!(workers.drain(SOON).await);
    site.append("a", 10..20).await;
    moved(&site.pool).await;
    sqlx::query("select setval('scalekit.event_seq_seq', 1, false)").execute(&site.pool).await.unwrap();
    site.append("a", 20..30).await;
    // As if other lanes had used the numbers up to here.
    sqlx::query("select setval('scalekit.event_seq_seq', 20)").execute(&site.pool).await.unwrap();
    site.append("a", 30..35).await;
    let (_relay, _workers) = site.run(ledger.clone());
    ledger.until("all come", |ledger| ledger.of("a").last() == Some(&34)).await;
    in_order(&ledger, "a", 35);
}

#[tokio::test]
async fn a_window_that_is_half_acknowledged_stays_ahead_of_what_came_after_it() {
    let site = Postgres::site().await;
    let ledger = Arc::new(Ledger::default());
    site.append("a", 0..300).await;
    moved(&site.pool).await;
    sqlx::query("select setval('scalekit.event_seq_seq', 1, false)").execute(&site.pool).await.unwrap();
    let mut running = site.begin().await;
    Outbox::new().append(&mut *running, numbered("a", 300)).await.unwrap();
    let door = ledger.shut();
    let (relay, _workers) = site.run(ledger.clone());
    ledger.until_at_door(1).await;
    running.commit().await.unwrap();
    door.add_permits(1);
    ledger.until_at_door(2).await;
    relay.rebase().await.unwrap();
    ledger.open();
    door.add_permits(100);
    ledger.until("all come", |ledger| ledger.of("a").contains(&300)).await;
    in_order(&ledger, "a", 301);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_beside_a_long_rebase_is_not_listed_in_its_ticks() {
    let site = Postgres::site().await;
    site.append("a", 0..3).await;
    sqlx::raw_sql(
        "insert into scalekit.event (lane, id, type, source, key, datacontenttype, data)
         select n % 64, gen_random_uuid(), 't', '/s', 'p' || n % 64, 'application/json', '1'
           from generate_series(1, 50000) n",
    )
    .execute(&site.pool)
    .await
    .unwrap();
    let (stop, mut stopped) = tokio::sync::watch::channel(());
    let (pool, begun) = (site.pool.clone(), Arc::new(tokio::sync::Notify::new()));
    let others = tokio::spawn({
        let begun = Arc::clone(&begun);
        async move {
            let use_up =
                "do $$ begin for i in 1..1000 loop perform pg_current_xact_id(); commit; end loop; end $$";
            let mut count = 0_u32;
            while stopped.has_changed().is_ok() {
                sqlx::raw_sql(use_up).execute(&pool).await.unwrap();
                begun.notify_one();
                count += 1;
            }
            stopped.mark_unchanged();
            count
        }
    });
    begun.notified().await;
    let relay = site.relay(Arc::new(Ledger::default()));
    relay.rebase().await.unwrap();
    drop(stop);
    assert!(others.await.unwrap() > 1, "other transactions went on meanwhile");
    let most = "select max((select count(*) from pg_snapshot_xip(snap))) from scalekit.tick";
    let most: i64 = sqlx::query_scalar(most).fetch_one(&site.pool).await.unwrap();
    assert!(most < 500, "a tick lists {most} transactions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appending_goes_on_and_keeps_its_order() {
    const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];
    const EACH: u64 = 10;
    let rounds = if full() { 200 } else { 8 };
    let site = Arc::new(Postgres::site().await);
    let ledger = Arc::new(Ledger::default());
    let (relay, _workers) = site.run(ledger.clone());
    for round in 0..rounds {
        let first = round * EACH;
        let mut appenders = JoinSet::new();
        for key in KEYS {
            let site = Arc::clone(&site);
            appenders.spawn(async move {
                for number in (first..first + EACH).step_by(2) {
                    let mut tx = site.begin().await;
                    let mut inner = tx.begin().await.unwrap();
                    Outbox::new().append(&mut *inner, numbered(key, number)).await.unwrap();
                    inner.commit().await.unwrap();
                    Outbox::new().append(&mut *tx, numbered(key, number + 1)).await.unwrap();
                    tx.commit().await.unwrap();
                }
            });
        }
        if round % 2 == 0 {
            relay.rebase().await.unwrap();
        } else {
            moved(&site.pool).await;
        }
        appenders.join_all().await;
        let last = first + EACH - 1;
        ledger.until("all come", |ledger| KEYS.iter().all(|key| ledger.of(key).last() == Some(&last))).await;
    }
    for key in KEYS {
        in_order(&ledger, key, rounds * EACH);
    }
    evidence(
        "rebases beside four appenders",
        &format!("{rounds} rebases, {} events", rounds * EACH * KEYS.len() as u64),
        "nothing lost, nothing out of order",
    );
}

/// In the first kilobyte of the statement, which is what the server shows.
const REBASING: &str = "fourth statement of a rebase";

/// How many sessions of this database run a statement that has these words.
async fn running(pool: &PgPool, words: &str) -> i64 {
    let count = "select count(*) from pg_stat_activity
                  where datname = current_database() and state = 'active' and pid <> pg_backend_pid()
                    and position($1 in query) > 0";
    sqlx::query_scalar(count).bind(words).fetch_one(pool).await.unwrap()
}

/// Makes every rebase that puts something back take longer than any test.
async fn slowed(site: &Site<Postgres>) {
    sqlx::raw_sql(
        "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(600); return null; end $$;
         create trigger slow before update on scalekit.event execute function slow()",
    )
    .execute(&site.pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_relay_that_is_told_to_stop_leaves_no_rebase_behind() {
    let site = Postgres::site().await;
    slowed(&site).await;
    site.append("a", 0..3).await;
    moved(&site.pool).await;
    let ledger = Arc::new(Ledger::default());
    let (_relay, mut workers) = site.run(ledger.clone());
    wait_until("the rebase runs", SOON, async || running(&site.pool, REBASING).await == 1).await;
    assert!(workers.drain(SOON).await, "it stops, although the rebase would go on");
    wait_until("the database ends it", SOON, async || running(&site.pool, REBASING).await == 0).await;
    sqlx::raw_sql("drop trigger slow on scalekit.event").execute(&site.pool).await.unwrap();
    let (_relay, _workers) = site.run(ledger.clone());
    ledger.until("all come", |ledger| ledger.of("a") == [0, 1, 2]).await;
}

#[tokio::test]
async fn who_waits_for_a_rebase_gives_up_in_the_database_too() {
    let site = Postgres::site().await;
    let mut rebase = site.pool.begin().await.unwrap();
    sqlx::query(sql::REBASE_LOCK).execute(&mut *rebase).await.unwrap();
    let relay = uuid::Uuid::now_v7().to_string();
    let mut renewal = site.pool.begin().await.unwrap();
    sqlx::query(sql::BEAT).bind(&relay).fetch_one(&mut *renewal).await.unwrap();
    let give = sqlx::query(sql::GIVE).bind(&relay).bind(1.0_f64).bind(Vec::<i16>::new());
    let mut another = site.pool.begin().await.unwrap();
    sqlx::query(sql::REBASE_BOUNDS).execute(&mut *another).await.unwrap();
    let lock = sqlx::query(sql::REBASE_LOCK);
    // The steps of a relay are given five seconds, and a rebase an hour.
    let both = async { tokio::join!(give.execute(&mut *renewal), lock.execute(&mut *another)) };
    let (gave, locked) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("both give up");
    for refused in [gave.unwrap_err(), locked.unwrap_err()] {
        let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned());
        assert_eq!(code.as_deref(), Some("55P03"), "{refused}");
    }
}
