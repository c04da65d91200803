//! A migrated database with a table of notes, for the tests of transactions and claims.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use scalekit_core::db::{self, Answer, PoolSource};
use scalekit_testkit::{Database, Postgres, PostgresServer, wait_until};
use sqlx::{PgPool, postgres::PgPoolOptions};

/// How long an event may take that is only waited for.
pub(crate) const SOON: Duration = Duration::from_secs(20);

const NOTE: &str = "create table note (body text not null)";

/// A fresh migrated database on the server that the tests share.
pub(crate) async fn shared() -> Database {
    database(Postgres::shared().await).await
}

/// A fresh migrated database on this server.
pub(crate) async fn database(server: &PostgresServer) -> Database {
    let sql = [db::sql::postgres::CREATE_LEDGER, db::MIGRATIONS[0].postgres, NOTE];
    server.template("core", &sql).await.database().await
}

/// A pool as a topology makes it: lazy, without a ping before each use.
pub(crate) fn pool(url: &str, max: u32) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(max).test_before_acquire(false);
    pool.acquire_timeout(Duration::from_secs(5)).connect_lazy(url).unwrap()
}

pub(crate) fn source(url: &str, max: u32) -> PoolSource {
    PoolSource::new(pool(url, max))
}

pub(crate) async fn notes(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("select body from note order by body").fetch_all(pool).await.unwrap()
}

pub(crate) async fn write(conn: &mut sqlx::PgConnection, body: &str) {
    sqlx::query("insert into note (body) values ($1)").bind(body).execute(conn).await.unwrap();
}

/// Waits until no session of the database is inside a transaction.
pub(crate) async fn wait_no_transaction(pool: &PgPool) {
    let open = "select count(*) from pg_stat_activity where datname = current_database() \
                and pid <> pg_backend_pid() and state <> 'idle'";
    wait_until("no session is inside a transaction", SOON, async || {
        sqlx::query_scalar::<_, i64>(open).fetch_one(pool).await.unwrap() == 0
    })
    .await;
}

/// An answer to be stored.
pub(crate) fn answer(body: &[u8]) -> Answer {
    Answer {
        status: Some(201),
        head: b"head".to_vec(),
        body: Some(body.to_vec()),
        after_commit: Some(b"then".to_vec()),
    }
}
