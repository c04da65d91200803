//! A transaction says "committed" only if it is, whatever is dropped, swallowed or killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{SOON, database, notes, pool, shared, source, wait_no_transaction, write};
use futures_util::FutureExt;
use scalekit_core::{ErrorKind, Hop, Observer, Position, Signals, db::PoolSource};
use scalekit_testkit::{Postgres, Proxy, Rng, drop_at_each_await, evidence, full, seed, wait_until};
use sqlx::Connection;
use tokio::task::JoinSet;

async fn pid(conn: &mut sqlx::PgConnection) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(conn).await.unwrap()
}

#[tokio::test]
async fn a_swallowed_error_is_never_reported_as_committed() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let broken = [
        "insert into note (body) values (null)",
        "select 1 / 0",
        "select * from no_such_table",
        "not even sql",
        "savepoint s; select 1 / 0",
    ];
    for sql in broken {
        let mut tx = source.open().await.unwrap();
        let before = pid(&mut tx).await;
        write(&mut tx, "lost").await;
        let _swallowed = sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap_err();
        let error = tx.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Aborted, "{sql}: {error:?}");
        assert_eq!(notes(source.pool()).await, [""; 0], "{sql}");
        let mut next = source.open().await.unwrap();
        assert_eq!(pid(&mut next).await, before, "the connection is reused after {sql}");
    }
}

#[tokio::test]
async fn a_deferred_constraint_that_fails_at_commit_is_not_reported_as_committed() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let unique = "create table once (n int unique deferrable initially deferred)";
    sqlx::raw_sql(unique).execute(source.pool()).await.unwrap();
    let mut tx = source.open().await.unwrap();
    sqlx::raw_sql("insert into once values (1); insert into once values (1)")
        .execute(&mut *tx)
        .await
        .unwrap();
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
    let left: i64 = sqlx::query_scalar("select count(*) from once").fetch_one(source.pool()).await.unwrap();
    assert_eq!(left, 0);
    // The connection came back clean.
    let mut tx = source.open().await.unwrap();
    write(&mut tx, "kept").await;
    tx.commit().await.unwrap();
    assert_eq!(notes(source.pool()).await, ["kept"]);
}

#[tokio::test]
async fn begin_on_a_transaction_is_a_savepoint() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let mut tx = source.open().await.unwrap();
    write(&mut tx, "outer").await;

    let mut inner = tx.begin().await.unwrap();
    write(&mut inner, "rolled back").await;
    inner.rollback().await.unwrap();

    let mut inner = tx.begin().await.unwrap();
    write(&mut inner, "dropped").await;
    drop(inner);

    let mut inner = tx.begin().await.unwrap();
    write(&mut inner, "released").await;
    let _failed =
        sqlx::raw_sql("select 1 / 0").execute(&mut *inner.begin().await.unwrap()).await.unwrap_err();
    inner.commit().await.unwrap();

    let other = pool(&database.url(), 1);
    assert_eq!(notes(&other).await, [""; 0], "a savepoint commits nothing");
    tx.commit().await.unwrap();
    assert_eq!(notes(&other).await, ["outer", "released"]);
}

#[tokio::test]
async fn a_savepoint_that_is_dropped_before_it_is_begun_is_never_reported_as_committed() {
    let database = shared().await;
    // A server that answers at once would not make each await wait.
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    proxy.set_delay(Duration::from_millis(2));
    let source = source(&database.url_via(proxy.addr()), 1);
    let mut tx = source.open().await.unwrap();
    write(&mut tx, "before").await;
    assert!(tx.begin().now_or_never().is_none(), "it waits for the server");
    write(&mut tx, "outside").await;
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse, "{error:?}");
    let mut next = source.open().await.unwrap();
    write(&mut next, "next").await;
    next.commit().await.unwrap();
    assert_eq!(notes(source.pool()).await, ["next", "outside"], "the driver has rolled the transaction back");
}

/// Remembers how transactions ended.
#[derive(Default)]
struct Heard(Mutex<Vec<&'static str>>);

impl Observer for Heard {
    fn ended(&self, _: Hop, operation: &'static str, outcome: &'static str, _: Duration) {
        if operation == "transaction" {
            self.0.lock().unwrap().push(outcome);
        }
    }

    fn behind(&self, _: &'static str, _: &str, _: u64, _: f64) {}
}

#[tokio::test]
async fn each_transaction_is_reported_once_by_how_it_ended() {
    let database = shared().await;
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    proxy.set_delay(Duration::from_millis(2));
    let heard = Arc::new(Heard::default());
    let source = source(&database.url_via(proxy.addr()), 1).with_signals(Signals::to(heard.clone()));
    let mut tx = source.open().await.unwrap();
    write(&mut tx, "kept").await;
    tx.commit().await.unwrap();
    source.open().await.unwrap().rollback().await.unwrap();
    drop(source.open().await.unwrap());
    let mut tx = source.open().await.unwrap();
    sqlx::raw_sql("select 1 / 0").execute(&mut *tx).await.unwrap_err();
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Aborted);
    assert!(source.open().await.unwrap().commit().now_or_never().is_none(), "it waits for the server");
    let ends = ["committed", "rolled_back", "rolled_back", "rolled_back", "unknown"];
    assert_eq!(*heard.0.lock().unwrap(), ends);
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_and_its_connection_reused() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let mut first = None;
    for round in 0..20 {
        let mut tx = source.open().await.unwrap();
        let now = pid(&mut tx).await;
        assert_eq!(*first.get_or_insert(now), now);
        write(&mut tx, "lost").await;
        if round % 2 == 0 {
            let _aborted = sqlx::raw_sql("select 1 / 0").execute(&mut *tx).await.unwrap_err();
        }
        if round % 3 == 0 {
            let inner = tx.begin().await;
            drop(inner);
        }
        drop(tx);
    }
    assert_eq!(notes(source.pool()).await, [""; 0]);
    let mut tx = source.open().await.unwrap();
    write(&mut tx, "lost").await;
    tx.rollback().await.unwrap();
    let mut tx = source.open().await.unwrap();
    assert_eq!(Some(pid(&mut tx).await), first);
    drop(tx);
    assert_eq!(notes(source.pool()).await, [""; 0]);
}

#[tokio::test]
async fn a_closed_transaction_is_rolled_back_and_its_connection_is_not_reused() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let mut tx = source.open().await.unwrap();
    let before = pid(&mut tx).await;
    write(&mut tx, "lost").await;
    tx.close();
    let mut tx = source.open().await.unwrap();
    assert_ne!(pid(&mut tx).await, before);
    drop(tx);
    wait_no_transaction(&pool(&database.url(), 1)).await;
    assert_eq!(notes(source.pool()).await, [""; 0]);
}

#[tokio::test]
async fn a_connection_to_a_server_that_became_read_only_is_not_reused() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    for (spoilt, reused) in [("select 1 / 0", true), ("set transaction read only", false)] {
        let mut tx = source.open().await.unwrap();
        let before = pid(&mut tx).await;
        let _aborts = sqlx::raw_sql(spoilt).execute(&mut *tx).await;
        let refused =
            sqlx::query("insert into note (body) values ('lost')").execute(&mut *tx).await.unwrap_err();
        tx.fail(&refused.into());
        let mut next = source.open().await.unwrap();
        assert_eq!(pid(&mut next).await == before, reused, "after {spoilt}");
    }
}

#[tokio::test]
async fn the_position_is_at_or_after_the_commit() {
    let database = shared().await;
    let source = source(&database.url(), 2);
    for synchronous in ["on", "off"] {
        let mut last = Position::ORIGIN;
        for _ in 0..20 {
            let mut tx = source.open().await.unwrap();
            if synchronous == "off" {
                sqlx::raw_sql("set local synchronous_commit = off").execute(&mut *tx).await.unwrap();
            }
            write(&mut tx, "kept").await;
            let insert = "select pg_current_wal_insert_lsn()::text";
            let written: String = sqlx::query_scalar(insert).fetch_one(&mut *tx).await.unwrap();
            let position = tx.commit().await.unwrap();
            assert!(position > written.parse().unwrap(), "the commit record follows the last write");
            assert!(position > last);
            let after: String = sqlx::query_scalar(insert).fetch_one(source.pool()).await.unwrap();
            assert!(position <= after.parse().unwrap());
            last = position;
        }
    }
    assert_eq!(notes(source.pool()).await.len(), 40);
}

#[tokio::test]
async fn begin_and_commit_are_one_round_trip_each() {
    let database = shared().await;
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    let source = source(&database.url_via(proxy.addr()), 1);
    for round in 0..3 {
        let released = async || source.pool().num_idle() == 1 || source.pool().size() == 0;
        wait_until("the connection is released", SOON, released).await;
        let before = proxy.round_trips();
        let mut tx = source.open().await.unwrap();
        let begun = proxy.round_trips();
        write(&mut tx, "kept").await;
        let written = proxy.round_trips();
        tx.commit().await.unwrap();
        let committed = proxy.round_trips();
        if round > 0 {
            assert_eq!((begun - before, committed - written), (1, 1));
        }
    }
}

#[tokio::test]
async fn the_server_log_has_no_warning() {
    let server = Postgres::builder().setting("log_min_messages", "warning").start().await;
    let database = database(&server).await;
    let source = source(&database.url(), 3);
    for round in 0..30 {
        let mut tx = source.open().await.unwrap();
        write(&mut tx, "n").await;
        match round % 4 {
            0 => drop(tx),
            1 => tx.rollback().await.unwrap(),
            2 => drop(Box::pin(tx.commit())),
            _ => drop(tx.commit().await.unwrap()),
        }
    }
    drop_at_each_await(|| async { source.open().await.unwrap().commit().await }, async |_| {}).await;
    wait_no_transaction(&pool(&database.url(), 1)).await;
    let log = server.log_tail();
    assert!(!log.contains("WARNING") && !log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn a_commit_that_is_dropped_anywhere_leaves_all_or_nothing_and_a_clean_pool() {
    let database = shared().await;
    // A server that answers at once would not make each await wait.
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    proxy.set_delay(Duration::from_millis(2));
    let source = source(&database.url_via(proxy.addr()), 1);
    let plain = pool(&database.url(), 1);
    let round = AtomicU32::new(0);
    let write_two = || {
        let body = format!("{:04}", round.fetch_add(1, Ordering::SeqCst));
        let source = &source;
        async move {
            let mut tx = source.open().await.unwrap();
            write(&mut tx, &body).await;
            write(&mut tx, &body).await;
            tx.commit().await.unwrap();
        }
    };
    let points = drop_at_each_await(write_two, async |point| {
        // The only connection is in no transaction: what this one writes is there when it has committed.
        let mut tx = source.open().await.unwrap();
        write(&mut tx, "after").await;
        tx.commit().await.unwrap();
        wait_no_transaction(&plain).await;
        let body = format!("{:04}", round.load(Ordering::SeqCst) - 1);
        let written = notes(&plain).await.iter().filter(|note| **note == body).count();
        match point {
            None => assert_eq!(written, 2, "it completed"),
            Some(_) => assert!(written == 0 || written == 2, "{written} of 2 rows after a drop at {point:?}"),
        }
    })
    .await;
    assert!(points >= 4, "begin, two writes and a commit wait at least once each: {points}");
    let after = notes(&plain).await.iter().filter(|note| *note == "after").count();
    assert_eq!(after, points + 1);
}

/// Writers that note what they were told, while the server is killed under them.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_during_commits_leaves_no_false_answer() {
    let mut rng = Rng::new(seed());
    let server = Postgres::start().await;
    let database = database(&server).await;
    let kills = if full() { 200 } else { 5 };
    let (mut told, mut unknown, mut number) = (Vec::new(), 0, 0);
    for _ in 0..kills {
        let source = source(&database.url(), 16);
        let mut writers = JoinSet::new();
        for _ in 0..16 {
            number += 1;
            writers.spawn(write_until_killed(source.clone(), number));
        }
        tokio::time::sleep(Duration::from_millis(rng.below(150) + 20)).await;
        server.kill().await;
        while let Some(outcomes) = writers.join_next().await {
            told.extend(outcomes.unwrap());
        }
        server.restart().await;
    }
    let there: std::collections::HashSet<String> =
        notes(&pool(&database.url(), 1)).await.into_iter().collect();
    for (body, outcome) in &told {
        match outcome {
            Ok(()) => assert!(there.contains(body), "{body} was reported committed and is gone"),
            Err(ErrorKind::OutcomeUnknown) => unknown += 1,
            Err(kind) => assert!(!there.contains(body), "{body} failed as {kind:?} and is there"),
        }
    }
    let committed = told.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    assert!(committed > 0);
    let outcome = format!("{committed} commits kept, {unknown} reported as unknown, no false answer");
    evidence("Postgres killed under 16 writers", &format!("{kills} kills"), &outcome);
}

async fn write_until_killed(source: PoolSource, writer: u32) -> Vec<(String, Result<(), ErrorKind>)> {
    let mut told = Vec::new();
    for number in 0.. {
        let body = format!("{writer}-{number}");
        let Ok(mut tx) = source.open().await else { break };
        let insert = sqlx::query("insert into note (body) values ($1)").bind(&body).execute(&mut *tx).await;
        if let Err(error) = insert {
            let kind = scalekit_core::Error::from(error).kind();
            told.push((body, Err(kind)));
            break;
        }
        let outcome = tx.commit().await.map(drop).map_err(|error| error.kind());
        let failed = outcome.is_err();
        told.push((body, outcome));
        if failed {
            break;
        }
    }
    told
}

#[tokio::test]
async fn a_commit_without_an_answer_is_unknown_and_its_connection_is_closed() {
    let database = shared().await;
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    let source = source(&database.url_via(proxy.addr()), 1);
    let mut tx = source.open().await.unwrap();
    let before = pid(&mut tx).await;
    write(&mut tx, "perhaps").await;
    proxy.blackhole().await;
    let error = tx.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    assert!(error.is_transient());
    proxy.heal().await;
    wait_until("a transaction begins again", SOON, async || source.open().await.is_ok()).await;
    let mut tx = source.open().await.unwrap();
    assert_ne!(pid(&mut tx).await, before);
}
