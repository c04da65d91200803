//! Exactly one transaction holds an id, and nobody waits for it inside the database.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{SOON, answer, notes, pool, shared, source, wait_no_transaction, write};
use scalekit_core::{
    ErrorKind,
    db::{Answer, Claim, ClaimId, Claimed, Finished, PoolSource, Pooler, claim, finish},
};
use scalekit_testkit::{Postgres, Proxy, Rng, at_once, evidence, full, seed, wait_until};
use sqlx::{Connection, Row};

fn id(name: &str) -> ClaimId {
    ClaimId::new("test", [name.as_bytes()])
}

async fn show(conn: &mut sqlx::PgConnection, setting: &str) -> String {
    sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(conn).await.unwrap()
}

/// Claims, writes and commits; the id must be free.
async fn take(source: &PoolSource, claimed: &Claim, body: &str) -> Answer {
    let mut tx = source.open().await.unwrap();
    assert!(matches!(claim(&mut *tx, claimed).await.unwrap(), Claimed::Taken(_)));
    finish(&mut *tx, claimed, &answer(body.as_bytes())).await.unwrap();
    tx.commit().await.unwrap();
    answer(body.as_bytes())
}

#[tokio::test]
async fn a_claim_outside_a_transaction_or_above_read_committed_is_misuse() {
    let database = shared().await;
    let mut conn = pool(&database.url(), 1).acquire().await.unwrap();
    let claimed = Claim::new(id("a"));
    let outside = claim(&mut *conn, &claimed).await.unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::Misuse);
    assert!(outside.to_string().contains("needs a transaction"), "{outside}");
    let outside = finish(&mut *conn, &claimed, &answer(b"")).await.unwrap_err();
    assert_eq!(outside.kind(), ErrorKind::Misuse);

    for level in ["begin isolation level repeatable read", "begin isolation level serializable"] {
        let mut tx = conn.begin_with(level).await.unwrap();
        let above = claim(&mut *tx, &claimed).await.unwrap_err();
        assert_eq!(above.kind(), ErrorKind::Misuse, "{level}");
        assert!(above.to_string().contains("READ COMMITTED"), "{above}");
    }
    let mut tx = conn.begin().await.unwrap();
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_)), "nothing of it was kept");
}

#[tokio::test]
async fn only_the_transaction_that_holds_a_claim_can_finish_it() {
    let database = shared().await;
    let source = source(&database.url(), 2);
    let claimed = Claim::new(id("a"));
    let misuse = async |claimed: &Claim| {
        let mut tx = source.open().await.unwrap();
        let error = finish(&mut *tx, claimed, &answer(b"forged")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misuse, "{error:?}");
    };
    misuse(&claimed).await;
    take(&source, &claimed, "first").await;
    misuse(&claimed).await;

    // A claim that was committed without an answer is not to be given one by somebody else either.
    let bare = Claim::new(id("bare"));
    let mut tx = source.open().await.unwrap();
    assert!(matches!(claim(&mut *tx, &bare).await.unwrap(), Claimed::Taken(_)));
    tx.commit().await.unwrap();
    misuse(&bare).await;

    let mut tx = source.open().await.unwrap();
    let Claimed::Before(found) = claim(&mut *tx, &claimed).await.unwrap() else { panic!("it was claimed") };
    assert_eq!(found.answer.body.as_deref(), Some(b"first".as_slice()));
    let forged = finish(&mut *tx, &claimed, &answer(b"forged")).await.unwrap_err();
    assert_eq!(forged.kind(), ErrorKind::Misuse);
}

#[tokio::test]
async fn a_claim_in_a_savepoint_is_finished_outside_of_it() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let claimed = Claim::new(id("a"));
    let mut tx = source.open().await.unwrap();
    let mut inner = tx.begin().await.unwrap();
    assert!(matches!(claim(&mut *inner, &claimed).await.unwrap(), Claimed::Taken(_)));
    inner.commit().await.unwrap();
    finish(&mut *tx, &claimed, &answer(b"done")).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = source.open().await.unwrap();
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Before(_)));
}

#[tokio::test]
async fn what_was_finished_is_found_by_whoever_comes_later() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let claimed = Claim::new(id("a")).with_fingerprint(*b"print");
    let mut tx = source.open().await.unwrap();
    let Claimed::Taken(operation) = claim(&mut *tx, &claimed).await.unwrap() else { panic!("it is free") };
    finish(&mut *tx, &claimed, &answer(b"body")).await.unwrap();
    let position = tx.commit().await.unwrap();

    let mut tx = source.open().await.unwrap();
    let Claimed::Before(found) = claim(&mut *tx, &claimed).await.unwrap() else { panic!("it was claimed") };
    assert!(found.position >= position, "a read at this position sees the first one's writes");
    let written = answer(b"body");
    assert_eq!(
        found,
        Finished {
            operation,
            position: found.position,
            fingerprint: Some(b"print".to_vec()),
            answer: written
        }
    );
}

#[tokio::test]
async fn the_short_lock_timeout_of_the_claim_ends_with_it() {
    let database = shared().await;
    let source = source(&database.url(), 2);
    let claimed = Claim::new(id("a")).with_deadline(Duration::from_millis(7_000));
    let settings = ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"];

    let mut tx = source.open().await.unwrap();
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_)));
    for setting in settings {
        assert_eq!(show(&mut tx, setting).await, "7s", "{setting} after a claim that was taken");
    }
    tx.commit().await.unwrap();

    let mut tx = source.open().await.unwrap();
    assert_eq!(show(&mut tx, "lock_timeout").await, "0", "the settings end with the transaction");
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Before(_)));
    for setting in settings {
        assert_eq!(show(&mut tx, setting).await, "7s", "{setting} after a claim that was made before");
    }
}

#[tokio::test]
async fn the_lock_timeout_is_reset_also_where_another_committed_meanwhile() {
    let database = shared().await;
    let source = source(&database.url(), 3);
    let claimed = Claim::new(id("a")).with_deadline(Duration::from_millis(7_000));
    let mut met = 0;
    // The claim waits at most 10 ms: the holder commits while it does.
    for round in 0..200 {
        let claimed = Claim::new(id(&round.to_string())).with_deadline(Duration::from_millis(7_000));
        let mut holder = source.open().await.unwrap();
        assert!(matches!(claim(&mut *holder, &claimed).await.unwrap(), Claimed::Taken(_)));
        let mut waiter = source.open().await.unwrap();
        let (waited, committed) = tokio::join!(claim(&mut *waiter, &claimed), async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            holder.commit().await
        });
        committed.unwrap();
        if let Claimed::Before(_) = waited.unwrap() {
            met += 1;
            assert_eq!(show(&mut waiter, "lock_timeout").await, "7s");
        }
        if met >= 3 {
            break;
        }
    }
    assert!(met > 0, "no claim met a holder that committed meanwhile: {claimed:?}");
}

#[tokio::test]
async fn a_busy_claim_returns_soon_and_its_connection_with_it() {
    let database = shared().await;
    let source = source(&database.url(), 2);
    let claimed = Claim::new(id("a"));
    let mut holder = source.open().await.unwrap();
    assert!(matches!(claim(&mut *holder, &claimed).await.unwrap(), Claimed::Taken(_)));
    for _ in 0..5 {
        let mut tx = source.open().await.unwrap();
        assert_eq!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Busy);
        let aborted = tx.commit().await.unwrap_err();
        assert_eq!(aborted.kind(), ErrorKind::Aborted);
    }
    drop(holder);
    wait_until("the dropped claim is free", SOON, async || {
        let mut tx = source.open().await.unwrap();
        matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_))
    })
    .await;
}

/// 100 clients race for one id; some give up what they took, by rollback, by drop or by closing the connection.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_racers_one_holds_the_id_at_a_time_and_one_commits() {
    let seed = seed();
    let database = shared().await;
    let source = Arc::new(source(&database.url(), 20).with_acquire_timeout(SOON));
    let rounds = if full() { 100 } else { 3 };
    let (holders, committed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (mut busy, mut given_up) = (0, 0);
    for round in 0..rounds {
        let results = at_once(100, |racer| {
            let (source, holders, committed) = (source.clone(), holders.clone(), committed.clone());
            let mut rng = Rng::new(seed ^ (u64::from(round) << 32) ^ racer as u64);
            async move {
                let claimed = Claim::new(id(&format!("race-{round}")));
                let (mut busy, mut given_up) = (0_u32, 0_u32);
                let found = loop {
                    let mut tx = source.open().await.unwrap();
                    match claim(&mut *tx, &claimed).await.unwrap() {
                        Claimed::Taken(_) => {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two hold it at once");
                            write(&mut tx, &format!("{round}")).await;
                            finish(&mut *tx, &claimed, &answer(format!("{racer}").as_bytes())).await.unwrap();
                            holders.fetch_sub(1, Ordering::SeqCst);
                            if rng.one_in(3) {
                                tx.commit().await.unwrap();
                                committed.fetch_add(1, Ordering::SeqCst);
                                break answer(format!("{racer}").as_bytes()).body;
                            }
                            given_up += 1;
                            match rng.below(3) {
                                0 => drop(tx),
                                1 => tx.rollback().await.unwrap(),
                                _ => tx.close(),
                            }
                        }
                        Claimed::Before(found) => break found.answer.body,
                        Claimed::Busy => busy += 1,
                    }
                };
                (found, busy, given_up)
            }
        })
        .await;
        let first = &results[0].0;
        assert!(results.iter().all(|(found, _, _)| found == first), "all see the same answer");
        busy += results.iter().map(|(_, busy, _)| busy).sum::<u32>();
        given_up += results.iter().map(|(_, _, given_up)| given_up).sum::<u32>();
    }
    assert_eq!(committed.load(Ordering::SeqCst), rounds);
    assert_eq!(notes(source.pool()).await.len(), rounds as usize, "one effect a round");
    let outcome = format!("one effect each; {given_up} given up before it, {busy} times \"busy\"");
    evidence("100 transactions race for one claim", &format!("{rounds} rounds"), &outcome);
}

#[tokio::test]
async fn a_hanging_statement_is_ended_at_the_deadline_and_the_id_is_free_again() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let claimed = Claim::new(id("a")).with_deadline(Duration::from_millis(200));
    let mut tx = source.open().await.unwrap();
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_)));
    let hung = sqlx::raw_sql("select pg_sleep(60)").execute(&mut *tx).await.unwrap_err();
    let error = scalekit_core::Error::from(hung);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    drop(tx);
    let claimed = Claim::new(id("a"));
    let mut tx = source.open().await.unwrap();
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_)));
}

#[tokio::test]
async fn a_holder_that_hangs_between_statements_loses_the_id_at_the_deadline() {
    let database = shared().await;
    let source = source(&database.url(), 2);
    let claimed = Claim::new(id("a")).with_deadline(Duration::from_millis(200));
    let mut stuck = source.open().await.unwrap();
    assert!(matches!(claim(&mut *stuck, &claimed).await.unwrap(), Claimed::Taken(_)));
    write(&mut stuck, "lost").await;
    wait_until("the stuck holder's id is free", SOON, async || {
        let mut tx = source.open().await.unwrap();
        matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_))
    })
    .await;
    let error = stuck.commit().await.unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Misuse);
    assert_eq!(notes(source.pool()).await, [""; 0], "{error:?}");
    wait_no_transaction(source.pool()).await;
}

#[tokio::test]
async fn an_id_is_free_again_after_its_retention() {
    let database = shared().await;
    let source = source(&database.url(), 1);
    let claimed = Claim::new(id("a")).with_retention(Duration::from_millis(300)).with_fingerprint(*b"old");
    take(&source, &claimed, "old").await;
    let again = Claim::new(id("a")).with_fingerprint(*b"new");
    let operations = std::sync::Mutex::new(Vec::new());
    let note = |operation| operations.lock().unwrap().push(operation);
    wait_until("the claim expires", SOON, async || {
        let mut tx = source.open().await.unwrap();
        match claim(&mut *tx, &again).await.unwrap() {
            Claimed::Taken(operation) => {
                note(operation);
                tx.commit().await.unwrap();
                true
            }
            Claimed::Before(found) => {
                assert_eq!(found.answer.body.as_deref(), Some(b"old".as_slice()));
                note(found.operation);
                false
            }
            Claimed::Busy => panic!("nobody holds it"),
        }
    })
    .await;
    let operations = operations.into_inner().unwrap();
    assert!(operations.last() > operations.first(), "the later operation has the greater id: {operations:?}");
    let mut tx = source.open().await.unwrap();
    let Claimed::Before(found) = claim(&mut *tx, &again).await.unwrap() else {
        panic!("it was claimed again")
    };
    let nothing_of_the_old =
        (found.answer.status, found.answer.head.len(), found.answer.body, found.answer.after_commit);
    assert_eq!(nothing_of_the_old, (None, 0, None, None));
    assert_eq!(found.fingerprint.as_deref(), Some(b"new".as_slice()));
}

#[tokio::test]
async fn claim_and_finish_are_one_round_trip_each() {
    let database = shared().await;
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    let source = source(&database.url_via(proxy.addr()), 1);
    for round in 0..3 {
        let claimed = Claim::new(id(&round.to_string()));
        let mut tx = source.open().await.unwrap();
        let begun = proxy.round_trips();
        assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_)));
        let taken = proxy.round_trips();
        finish(&mut *tx, &claimed, &answer(b"body")).await.unwrap();
        let finished = proxy.round_trips();
        tx.commit().await.unwrap();
        let committed = proxy.round_trips();
        let mut tx = source.open().await.unwrap();
        let begun_again = proxy.round_trips();
        assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Before(_)));
        let found = proxy.round_trips();
        if round > 0 {
            // A statement that is prepared costs one; the first time on a connection it costs one more.
            assert_eq!((taken - begun, finished - taken, committed - finished), (1, 1, 1));
            assert_eq!(found - begun_again, 1);
        }
    }
}

#[tokio::test]
async fn nothing_stays_prepared_behind_a_legacy_pooler() {
    let database = shared().await;
    let source = source(&database.url(), 1).with_pooler(Pooler::Legacy);
    let mut tx = source.open().await.unwrap();
    let claimed = Claim::new(id("a")).with_pooler(tx.pooler());
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_)));
    finish(&mut *tx, &claimed, &answer(b"body")).await.unwrap();
    let listed =
        sqlx::raw_sql("select name from pg_prepared_statements where name <> ''").fetch_all(&mut *tx).await;
    let names: Vec<String> = listed.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(names, [""; 0]);
}
