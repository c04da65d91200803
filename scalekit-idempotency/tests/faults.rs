//! The database goes away under an execution: the retry with the same key is right, whatever the moment.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use common::{PAYMENT, postgres_app, request};
use futures_util::{StreamExt, stream};
use scalekit_core::db::{self, PoolSource};
use scalekit_idempotency::{Idempotency, Step};
use scalekit_testkit as kit;
use sqlx::postgres::PgPoolOptions;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_any_step_leaves_one_payment_after_the_retry() {
    let server = Arc::new(kit::Postgres::builder().fsync(true).start().await);
    let database = server.database().await;
    let options = PgPoolOptions::new().max_connections(4).test_before_acquire(false);
    let pool = options.connect(&database.url()).await.unwrap();
    db::migrate(&pool, &[db::MIGRATIONS, &[PAYMENT]]).await.unwrap();
    let steps =
        [Step::BeforeClaim, Step::AfterClaim, Step::AfterHandler, Step::BeforeCommit, Step::AfterCommit];
    let kills = steps.len() * if kit::full() { 20 } else { 1 };
    for (round, step) in steps.into_iter().cycle().take(kills).enumerate() {
        let source = PoolSource::new(pool.clone());
        let reached = Arc::new(tokio::sync::Notify::new());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (told, wait) = (Arc::clone(&reached), std::sync::Mutex::new(wait));
        let builder = Idempotency::builder(source)
            .by_principal()
            .with_deadline(Duration::from_secs(3))
            .with_observer(move |now| {
                if now == step {
                    told.notify_one();
                    tokio::task::block_in_place(|| wait.lock().unwrap().recv().ok());
                }
            });
        let app = postgres_app(builder);
        let key = format!("k-{round}");
        let (router, sent) = (app.router.clone(), request("ada", Some(&key), "go"));
        let first =
            tokio::spawn(
                async move { tower::ServiceExt::oneshot(router, sent).await.unwrap().status().as_u16() },
            );
        reached.notified().await;
        server.quit().await;
        drop(go);
        let first = first.await.unwrap();
        let expected = if step == Step::AfterCommit { 201 } else { 503 };
        assert_eq!(first, expected, "{step:?}");
        server.restart().await;
        kit::wait_until("the server is back", Duration::from_secs(10), || async {
            app.pay(&key, "go").await.status == 201
        })
        .await;
        let paid: i64 = sqlx::query_scalar("select count(*) from payment").fetch_one(&pool).await.unwrap();
        assert_eq!(paid as usize, round + 1, "{step:?}");
    }
    let often = format!("SIGQUIT at {} steps of a keyed request, {kills} times", steps.len());
    kit::evidence(
        "Postgres stopped during a keyed request",
        &often,
        "one payment after the retry with the same key",
    );
}

#[tokio::test]
async fn clients_that_trickle_their_bodies_hold_no_connection() {
    let clients = if kit::full() { 1_000 } else { 100 };
    let store = common::postgres(1).await;
    // What is asked here is what they hold, not how fast the whole crowd is served.
    let source = PoolSource::new(store.pool.clone()).with_acquire_timeout(Duration::from_secs(60));
    let app = postgres_app(Idempotency::builder(source).by_principal());
    let (release, _) = tokio::sync::broadcast::channel::<()>(1);
    let started = Arc::new(tokio::sync::Semaphore::new(0));
    let sent: Vec<_> = (0..clients)
        .map(|n| {
            let (mut released, started) = (release.subscribe(), Arc::clone(&started));
            let body = trickled(move || started.add_permits(1), async move {
                released.recv().await.ok();
            });
            let mut request = request("ada", Some(&format!("k-{n}")), "");
            *request.body_mut() = body;
            let router = app.router.clone();
            tokio::spawn(async move {
                tower::ServiceExt::oneshot(router, request).await.unwrap().status().as_u16()
            })
        })
        .collect();
    started.acquire_many(clients).await.unwrap().forget();
    let open = "select count(*) from pg_stat_activity where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()";
    let held: i64 = sqlx::query_scalar(open).fetch_one(&store.pool).await.unwrap();
    assert_eq!(held, 0);
    release.send(()).unwrap();
    for answer in sent {
        assert_eq!(answer.await.unwrap(), 201);
    }
    let outcome = "0 transactions open while the bodies come, each served afterwards";
    kit::evidence("clients that trickle their bodies", &format!("{clients} clients, 1 connection"), outcome);
}

/// A body of one piece before `wait` and one after it.
fn trickled(began: impl FnOnce() + Send + 'static, wait: impl Future<Output = ()> + Send + 'static) -> Body {
    let first = stream::once(async move {
        began();
        Ok::<_, std::io::Error>("g")
    });
    let second = stream::once(async move {
        wait.await;
        Ok("o")
    });
    Body::from_stream(first.chain(second).boxed())
}
