//! Behind a pgbouncer in transaction mode that does not follow prepared statements, nothing is lost or mixed up.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{SOON, answer, notes, pool};
use scalekit_core::{
    ErrorKind,
    db::{self, Claim, ClaimId, Claimed, Pooler, claim, finish, migrate},
};
use scalekit_testkit::{PgBouncer, Postgres, at_once, evidence, full};

/// As a service behind such a pooler must: not kept prepared.
async fn write(conn: &mut sqlx::PgConnection, body: &str) {
    let insert = sqlx::query("insert into note (body) values ($1)").bind(body).persistent(false);
    insert.execute(conn).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_claim_finish_and_commit_over_few_servers() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let bouncer = PgBouncer::builder().setting("default_pool_size", "3").start(server).await;
    let url = bouncer.url(&database);
    at_once(10, |_| {
        let pool = pool(&url, 1);
        async move { migrate(&pool, &[db::MIGRATIONS]).await.unwrap() }
    })
    .await;
    let direct = pool(&database.url(), 1);
    sqlx::raw_sql("create table note (body text not null)").execute(&direct).await.unwrap();

    let (clients, each) = (12, if full() { 400 } else { 15 });
    let source = common::source(&url, 12).with_pooler(Pooler::Legacy).with_acquire_timeout(SOON);
    at_once(clients, |client| {
        let source = source.clone();
        async move {
            for number in 0..each {
                let name = format!("{client}-{number}");
                for again in [false, true] {
                    let mut tx = source.open().await.unwrap();
                    let claimed =
                        Claim::new(ClaimId::new("test", [name.as_bytes()])).with_pooler(tx.pooler());
                    match claim(&mut *tx, &claimed).await.unwrap() {
                        Claimed::Taken(_) => {
                            assert!(!again);
                            write(&mut tx, &name).await;
                            finish(&mut *tx, &claimed, &answer(name.as_bytes())).await.unwrap();
                            tx.commit().await.unwrap();
                        }
                        Claimed::Before(found) => {
                            assert!(again);
                            assert_eq!(
                                found.answer.body.as_deref(),
                                Some(name.as_bytes()),
                                "another one's answer"
                            );
                        }
                        Claimed::Busy => panic!("nobody else claims {name}"),
                    }
                }
            }
        }
    })
    .await;
    assert_eq!(notes(&direct).await.len(), clients * each);
    let what = format!("{clients} clients behind a pgbouncer with 3 servers that does not follow statements");
    let often = format!("{} claims and as many replays", clients * each);
    evidence(&what, &often, "one effect each, every replay its own answer");
}

#[tokio::test]
async fn an_aborted_commit_is_told_and_the_server_comes_back_clean() {
    let server = Postgres::shared().await;
    let database = common::database(server).await;
    let bouncer = PgBouncer::builder().setting("default_pool_size", "1").start(server).await;
    let source =
        common::source(&bouncer.url(&database), 2).with_pooler(Pooler::Legacy).with_acquire_timeout(SOON);
    for _ in 0..5 {
        let mut tx = source.open().await.unwrap();
        write(&mut tx, "lost").await;
        let _swallowed = sqlx::raw_sql("select 1 / 0").execute(&mut *tx).await.unwrap_err();
        assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Aborted);
        let mut tx = source.open().await.unwrap();
        write(&mut tx, "kept").await;
        tx.commit().await.unwrap();
    }
    assert_eq!(notes(&pool(&database.url(), 1)).await, ["kept"; 5]);
}
