//! The tables of this crate.

use scalekit_core::db::Migration;

/// The tables of events, lanes and parked events; run them together with
/// [`scalekit_core::db::MIGRATIONS`], which has the inbox's.
///
/// ```no_run
/// # async fn f(pool: sqlx::PgPool) -> scalekit_core::Result<()> {
/// use scalekit_core::db;
/// db::migrate(&pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await?;
/// # Ok(()) }
/// ```
pub const MIGRATIONS: &[Migration] = &[Migration {
    line: "outbox",
    version: 1,
    name: "outbox",
    postgres: include_str!("../migrations/postgres/0001_outbox.sql"),
    sqlite: include_str!("../migrations/sqlite/0001_outbox.sql"),
}];
