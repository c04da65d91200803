//! Any number of processes migrate at once, and what was applied is not changed behind anybody's back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;

use scalekit_core::{
    ErrorKind,
    db::{self, Migration, migrate},
};
use scalekit_testkit::{Database, Postgres, at_once};
use sqlx::{AssertSqlSafe, Connection, Executor, PgPool, SqliteConnection, SqlitePool};

const NOTES: &[Migration] = &[
    step(1, "create table note (body text not null)"),
    step(2, "alter table note add column author text; create index note_author on note (author)"),
];

const fn step(version: i32, sql: &'static str) -> Migration {
    Migration { line: "notes", version, name: "note", postgres: sql, sqlite: sql }
}

async fn empty() -> Database {
    Postgres::shared().await.database().await
}

async fn applied(pool: &PgPool) -> Vec<(String, i32)> {
    let all = "select line, version from scalekit.migration order by line, version";
    sqlx::query_as(all).fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_processes_migrate_an_empty_database_at_once() {
    let database = empty().await;
    at_once(20, |_| {
        let pool = common::pool(&database.url(), 1);
        async move { migrate(&pool, &[db::MIGRATIONS, NOTES]).await.unwrap() }
    })
    .await;
    let pool = common::pool(&database.url(), 1);
    let expected: Vec<(String, i32)> =
        db::MIGRATIONS.iter().chain(NOTES).map(|step| (step.line.to_owned(), step.version)).collect();
    assert_eq!(applied(&pool).await, expected);
    migrate(&pool, &[db::MIGRATIONS, NOTES]).await.unwrap();
    assert_eq!(applied(&pool).await, expected, "once more changes nothing");
}

#[tokio::test]
async fn a_step_that_was_changed_after_it_was_applied_is_refused() {
    let pool = common::pool(&empty().await.url(), 1);
    migrate(&pool, &[NOTES]).await.unwrap();
    let changed = [NOTES[0], step(2, "alter table note add column author varchar(9)"), step(3, "select 1")];
    let error = migrate(&pool, &[&changed]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "migration notes/2 (note) was applied with other statements than this program has"
    );
    assert_eq!(applied(&pool).await.len(), 2, "nothing after it was applied either");
}

#[tokio::test]
async fn lines_with_gaps_or_strangers_are_refused_before_anything_runs() {
    let pool = common::pool(&empty().await.url(), 1);
    let stranger = Migration { line: "other", ..step(2, "select 1") };
    for bad in [vec![step(2, "select 1")], vec![NOTES[0], step(3, "select 1")], vec![NOTES[0], stranger]] {
        let error = migrate(&pool, &[&bad]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("numbered from 1 without gaps"), "{error}");
    }
    let schema: Option<String> =
        sqlx::query_scalar("select to_regnamespace('scalekit')::text").fetch_one(&pool).await.unwrap();
    assert_eq!(schema, None);
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_of_the_run() {
    let pool = common::pool(&empty().await.url(), 1);
    let bad = [NOTES[0], step(2, "alter table note add column author text; select 1 / 0")];
    let error = migrate(&pool, &[db::MIGRATIONS, &bad]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    let table: Option<String> =
        sqlx::query_scalar("select coalesce(to_regclass('note'), to_regclass('scalekit.migration'))::text")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(table, None);
    migrate(&pool, &[db::MIGRATIONS, NOTES]).await.unwrap();
}

#[tokio::test]
async fn an_older_program_leaves_newer_steps_alone() {
    let pool = common::pool(&empty().await.url(), 1);
    migrate(&pool, &[NOTES]).await.unwrap();
    migrate(&pool, &[&NOTES[..1]]).await.unwrap();
    assert_eq!(applied(&pool).await.len(), 2);
}

fn statements(of: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/sql").join(of);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files.map(named).collect()
}

#[tokio::test]
async fn every_statement_for_postgres_fits_the_migrated_schema() {
    let pool = common::pool(&empty().await.url(), 1);
    migrate(&pool, &[db::MIGRATIONS]).await.unwrap();
    let all = statements("postgres");
    assert!(all.len() >= 9, "{}", all.len());
    let mut conn = pool.acquire().await.unwrap();
    for (name, sql) in all {
        let several = name == "create_ledger.sql" || name == "commit.sql";
        let sql = AssertSqlSafe(sql);
        let mut tx = conn.begin().await.unwrap();
        let done = match several {
            true => sqlx::raw_sql(sql).execute(&mut *tx).await.map(drop),
            false => tx.prepare(sqlx::SqlSafeStr::into_sql_str(sql)).await.map(drop),
        };
        done.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn every_statement_for_sqlite_fits_the_migrated_schema() {
    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    migrate(&pool, &[db::MIGRATIONS]).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let all = statements("sqlite");
    assert!(all.len() >= 7, "{}", all.len());
    for (name, sql) in all {
        let sql = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql));
        conn.prepare(sql).await.map(drop).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_connections_migrate_an_empty_file_at_once() {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("migrate-{}.db", std::process::id()));
    let url = format!("sqlite:{}?mode=rwc", file.display());
    at_once(20, |_| {
        let url = url.clone();
        async move {
            let pool = SqlitePool::connect(&url).await.unwrap();
            migrate(&pool, &[db::MIGRATIONS, NOTES]).await.unwrap();
            pool.close().await;
        }
    })
    .await;
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let steps: i64 =
        sqlx::query_scalar("select count(*) from scalekit_migration").fetch_one(&mut conn).await.unwrap();
    assert_eq!(steps, (db::MIGRATIONS.len() + NOTES.len()) as i64);
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_role_without_ddl_works_with_the_grants_and_finds_all_migrated() {
    let database = empty().await;
    let owner = common::pool(&database.url(), 1);
    let before = sqlx::query_scalar::<_, String>("select format('%I', 'runtime_' || current_database())");
    let role: String = before.fetch_one(&owner).await.unwrap();
    owner.execute(AssertSqlSafe(format!("create role {role} login nosuperuser"))).await.unwrap();
    let url = database.url().replacen("postgres@", &format!("{role}@"), 1);
    assert_ne!(url, database.url(), "the URL names the owner");
    let runtime = common::pool(&url, 1);
    migrate(&runtime, &[db::MIGRATIONS]).await.unwrap_err();
    migrate(&owner, &[db::MIGRATIONS]).await.unwrap();
    let grants = db::sql::postgres::GRANTS.replace(":\"role\"", &role);
    owner.execute(AssertSqlSafe(grants)).await.unwrap();
    migrate(&runtime, &[db::MIGRATIONS]).await.unwrap();
    let mut tx = runtime.begin().await.unwrap();
    let claim = db::Claim::new(db::ClaimId::new("role", [b"1".as_slice()]));
    assert!(matches!(db::claim(&mut *tx, &claim).await.unwrap(), db::Claimed::Taken(_)));
    tx.commit().await.unwrap();
    runtime.execute("create table scalekit.mine (n int)").await.unwrap_err();
}
