//! What a failing test shows, and futures that are dropped half-way on real connections.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::time::Duration;

use scalekit_testkit::{Postgres, Program, Proxy, drop_at_each_await};
use sqlx::postgres::PgPoolOptions;

fn victim(mode: &str) -> Program {
    Program::new(env!("CARGO_BIN_EXE_testkit-victim")).arg(mode)
}

#[tokio::test]
async fn a_failing_test_shows_each_log_once() {
    let failed = victim("fail").start();
    assert_eq!(failed.wait_exit().await.code(), Some(101));
    let shown = failed.stderr();
    for text in ["Ready to accept connections", "ready to accept connections\n", "a line on stderr"] {
        assert_eq!(shown.matches(text).count(), 1, "{text:?} in:\n{shown}");
    }
}

#[tokio::test]
async fn a_missing_program_fails_with_the_package_to_install() {
    let failed = victim("servers").env("PATH", "/nowhere").start();
    assert_eq!(failed.wait_exit().await.code(), Some(101));
    assert!(failed.stderr().contains("`apt-get install redis-server`"), "{}", failed.stderr());
}

#[tokio::test]
async fn a_server_that_cannot_start_fails_the_test_with_its_log() {
    let failed = victim("bad-setting").start();
    assert_eq!(failed.wait_exit().await.code(), Some(101));
    let shown = failed.stderr();
    assert!(shown.contains("postgres ended with exit status: 1"), "{shown}");
    assert!(shown.contains("unrecognized configuration parameter \"no_such_setting\""), "{shown}");
}

#[tokio::test]
async fn a_transaction_dropped_at_any_await_is_whole_or_not_there() {
    let server = Postgres::shared().await;
    let database = server.database().await;
    let proxy = Proxy::to(server.addr()).await;
    // One connection: each check finds it after what the drop has left on it.
    let options = PgPoolOptions::new().max_connections(1);
    let pool = options.connect(&database.url_via(proxy.addr())).await.unwrap();
    sqlx::raw_sql("create table t (n int)").execute(&pool).await.unwrap();
    proxy.set_delay(Duration::from_millis(2));
    let two_rows = || async {
        let mut tx = pool.begin().await.unwrap();
        for n in 0..2 {
            sqlx::query("insert into t values ($1)").bind(n).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
    };
    let rows = || sqlx::query_scalar::<_, i64>("select count(*) from t").fetch_one(&pool);
    let points = drop_at_each_await(two_rows, |point| async move {
        let found = rows().await.unwrap();
        assert!(found % 2 == 0, "{found} rows after a drop at {point:?}");
        assert!(point.is_some() || found > 0, "the completed run has committed");
    })
    .await;
    // Begin, two inserts and commit wait for the server once each at the least.
    assert!(points >= 4, "{points}");
}
