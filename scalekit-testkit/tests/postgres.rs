//! Private Postgres servers start ready, survive what tests do to them, and hand out databases.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::time::Duration;

use scalekit_testkit::{Postgres, at_once};
use sqlx::{Connection, PgConnection};

async fn one(url: &str) -> Result<i32, sqlx::Error> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query_scalar("select 1").fetch_one(&mut connection).await
}

#[tokio::test]
async fn a_kill_loses_no_commit_and_leaves_no_process() {
    let server = Postgres::start().await;
    let database = server.database().await;
    let pool = database.pool(2).await;
    sqlx::raw_sql("create table t (n int); insert into t values (42)").execute(&pool).await.unwrap();
    let (port, pid) = (server.port(), server.pid());
    server.kill().await;
    assert!(one(&database.url()).await.is_err());
    server.restart().await;
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    let n: i32 = sqlx::query_scalar("select n from t").fetch_one(&pool).await.unwrap();
    assert_eq!(n, 42);
}

#[tokio::test]
async fn quit_cuts_clients_off_and_restart_recovers() {
    let server = Postgres::builder().fsync(true).setting("max_connections", "37").start().await;
    let pool = server.database().await.pool(1).await;
    let max: String = sqlx::query_scalar("show max_connections").fetch_one(&pool).await.unwrap();
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&pool).await.unwrap();
    assert_eq!((max.as_str(), fsync.as_str()), ("37", "on"));
    sqlx::raw_sql("create table t (n int)").execute(&pool).await.unwrap();
    server.quit().await;
    assert!(one(&server.url()).await.is_err());
    server.restart().await;
    sqlx::raw_sql("insert into t values (1)").execute(&pool).await.unwrap();
    assert!(server.log_tail().contains("ready to accept connections"), "{}", server.log_tail());
}

#[tokio::test]
async fn a_paused_server_accepts_but_does_not_answer_until_it_is_resumed() {
    let server = Postgres::start().await;
    let pool = server.database().await.pool(1).await;
    server.pause().await;
    let mut query =
        tokio::spawn(async move { sqlx::query_scalar::<_, i32>("select 1").fetch_one(&pool).await });
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await.is_ok());
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut query).await.is_err());
    server.resume();
    assert_eq!(query.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_paused_server_can_be_restarted() {
    let server = Postgres::start().await;
    let _held = server.database().await.pool(3).await;
    server.pause().await;
    server.restart().await;
    assert_eq!(one(&server.url()).await.unwrap(), 1);
}

#[tokio::test]
async fn twenty_databases_at_once_are_separate() {
    let names = at_once(20, |i| async move {
        let database = Postgres::shared().await.database().await;
        let pool = database.pool(2).await;
        sqlx::raw_sql("create table only_mine (n int)").execute(&pool).await.unwrap();
        sqlx::query("insert into only_mine values ($1)").bind(i as i32).execute(&pool).await.unwrap();
        let all: Vec<i32> = sqlx::query_scalar("select n from only_mine").fetch_all(&pool).await.unwrap();
        assert_eq!(all, [i as i32]);
        database.name().to_owned()
    })
    .await;
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), 20);
}

#[tokio::test]
async fn clones_of_a_template_start_with_its_tables_and_stay_separate() {
    let server = Postgres::shared().await;
    let sql = ["create table a (n int)", "insert into a values (1); create table b (n int);"];
    let first = server.template("orders", &sql).await.database().await.pool(1).await;
    let second = server.template("orders", &sql).await.database().await.pool(1).await;
    sqlx::raw_sql("insert into a values (2)").execute(&first).await.unwrap();
    let count = "select count(*) from a";
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&first).await.unwrap(), 2);
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&second).await.unwrap(), 1);
}

#[tokio::test]
#[should_panic(expected = "was made from other SQL")]
async fn a_template_name_stands_for_one_sql() {
    let server = Postgres::shared().await;
    server.template("one", &["create table a (n int)"]).await;
    server.template("one", &["create table b (n int)"]).await;
}
