//! The migration ledger: every crate's tables, created once, by whichever process comes first.

use sha2::{Digest, Sha256};
use sqlx::{Connection, Pool, Row};

use super::{Db, DbConnection, sql::postgres};
use crate::{Error, ErrorKind, Result};

/// SQLSTATE of what a role may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// One forward-only step of one crate's line.
///
/// The SQL is public: a team that migrates with a tool of its own runs it there and never calls [`migrate`].
///
/// ```
/// use scalekit_core::db::{MIGRATIONS, Migration};
/// assert_eq!((MIGRATIONS[0].line, MIGRATIONS[0].version), ("core", 1));
///
/// const NOTES: &[Migration] = &[Migration {
///     line: "notes",
///     version: 1,
///     name: "note",
///     postgres: "create table if not exists note (body text not null)",
///     sqlite: "create table if not exists note (body text not null)",
/// }];
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Whose step it is: a crate's or an application's name.
    pub line: &'static str,
    /// Its place in the line, from 1 without gaps.
    pub version: i32,
    /// What it does, in a word or two.
    pub name: &'static str,
    /// The statements for Postgres; safe to run twice.
    pub postgres: &'static str,
    /// The statements for SQLite; safe to run twice.
    pub sqlite: &'static str,
}

/// The tables of this crate.
pub const MIGRATIONS: &[Migration] = &[Migration {
    line: "core",
    version: 1,
    name: "claim",
    postgres: include_str!("../../migrations/postgres/0001_claim.sql"),
    sqlite: include_str!("../../migrations/sqlite/0001_claim.sql"),
}];

/// Applies what is missing of each line, in one transaction.
///
/// Any number of processes may call it at once on an empty database: a lock that belongs to the transaction
/// lets one work and the others find it done. A step that a newer process applied is left alone. The role
/// needs the right to create the schema `scalekit` only where a step is missing: a role without DDL (see
/// [`GRANTS`](super::sql::postgres::GRANTS)) finds all done after another has migrated.
///
/// # Errors
/// [`ErrorKind::Config`] if a line has gaps, an applied step was changed since, or a step is missing that this role may
/// not make; the database's failure.
///
/// ```no_run
/// # async fn f(pool: sqlx::PgPool) -> scalekit_core::Result<()> {
/// use scalekit_core::db;
/// db::migrate(&pool, &[db::MIGRATIONS]).await?;
/// # Ok(()) }
/// ```
pub async fn migrate<D: Db>(pool: &Pool<D>, lines: &[&[Migration]]) -> Result<()> {
    for line in lines {
        check(line)?;
    }
    let mut conn = pool.acquire().await?;
    conn.migrate(&lines.concat()).await
}

fn check(line: &[Migration]) -> Result<()> {
    let ordered =
        line.iter().zip(1..).all(|(step, version)| step.version == version && step.line == line[0].line);
    if ordered {
        return Ok(());
    }
    let name = line.first().map_or("", |step| step.line);
    Err(Error::new(
        ErrorKind::Config,
        format!("the migrations of {name:?} are not numbered from 1 without gaps"),
    ))
}

fn checksum(sql: &str) -> Vec<u8> {
    Sha256::digest(sql).to_vec()
}

fn changed(step: &Migration) -> Error {
    let Migration { line, version, name, .. } = step;
    let message = format!(
        "migration {line}/{version} ({name}) was applied with other statements than this program has"
    );
    Error::new(ErrorKind::Config, message)
}

/// The steps that are not in the ledger, whose rows these are.
fn missing<'a>(
    steps: &'a [Migration],
    applied: &[(String, i32, Vec<u8>)],
    sql: fn(&Migration) -> &'static str,
) -> Result<Vec<&'a Migration>> {
    let mut missing = Vec::new();
    for step in steps {
        match applied.iter().find(|(line, version, _)| line == step.line && *version == step.version) {
            Some((_, _, sum)) if *sum == checksum(sql(step)) => {}
            Some(_) => return Err(changed(step)),
            None => missing.push(step),
        }
    }
    Ok(missing)
}

pub(crate) async fn on_postgres(conn: &mut sqlx::PgConnection, steps: &[Migration]) -> Result<()> {
    // One read before the lock: a process that finds all done needs neither the lock nor the right to create.
    if let Some(done) = read_postgres(conn).await?
        && missing(steps, &done, |step| step.postgres)?.is_empty()
    {
        return Ok(());
    }
    let mut tx = conn.begin().await?;
    sqlx::raw_sql(postgres::LOCK_LEDGER).execute(&mut *tx).await?;
    sqlx::raw_sql(postgres::CREATE_LEDGER).execute(&mut *tx).await.map_err(not_allowed)?;
    let applied = read_postgres(&mut tx).await?.unwrap_or_default();
    for step in missing(steps, &applied, |step| step.postgres)? {
        sqlx::raw_sql(step.postgres).execute(&mut *tx).await.map_err(not_allowed)?;
        sqlx::query(postgres::WRITE_LEDGER)
            .bind(step.line)
            .bind(step.version)
            .bind(step.name)
            .bind(checksum(step.postgres))
            .persistent(false)
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx.commit().await?)
}

/// Says what to do to whoever may not create what is missing.
fn not_allowed(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|refused| refused.code());
    if code.as_deref() != Some(INSUFFICIENT_PRIVILEGE) {
        return error.into();
    }
    let message = "migrations are missing and this role may not create tables: migrate once as their owner, then \
                   grant (`sql::postgres::GRANTS`); with a tool of your own, do not call `migrate`";
    Error::new(ErrorKind::Config, message).with_source(error)
}

/// The ledger's rows, if there is a ledger.
async fn read_postgres(conn: &mut sqlx::PgConnection) -> Result<Option<Vec<(String, i32, Vec<u8>)>>> {
    let there = sqlx::raw_sql(postgres::HAS_LEDGER).fetch_one(&mut *conn).await?;
    if !there.try_get::<bool, _>(0)? {
        return Ok(None);
    }
    let rows = sqlx::raw_sql(postgres::READ_LEDGER).fetch_all(conn).await?;
    let rows = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    rows.collect::<Result<_, sqlx::Error>>().map(Some).map_err(Error::from)
}

#[cfg(feature = "sqlite")]
pub(crate) async fn on_sqlite(conn: &mut sqlx::SqliteConnection, steps: &[Migration]) -> Result<()> {
    use super::sql::sqlite;

    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::raw_sql(sqlite::CREATE_LEDGER).execute(&mut *tx).await?;
    let applied: Vec<(String, i32, Vec<u8>)> =
        sqlx::query_as(sqlite::READ_LEDGER).fetch_all(&mut *tx).await?;
    for step in missing(steps, &applied, |step| step.sqlite)? {
        sqlx::raw_sql(step.sqlite).execute(&mut *tx).await?;
        sqlx::query(sqlite::WRITE_LEDGER)
            .bind(step.line)
            .bind(step.version)
            .bind(step.name)
            .bind(checksum(step.sqlite))
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx.commit().await?)
}
