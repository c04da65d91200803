//! Every statement of this crate as static SQL, for a service that runs them with another driver or ORM.
//!
//! The first lines of each name its binds and its result.

/// The statements for Postgres.
///
/// ```
/// use scalekit_outbox::sql::postgres;
/// assert!(postgres::APPEND.contains("scalekit.event"));
/// ```
pub mod postgres {
    /// Appends events in the caller's transaction.
    pub const APPEND: &str = include_str!("sql/postgres/append.sql");
}

/// The statements for SQLite.
///
/// ```
/// use scalekit_outbox::sql::sqlite;
/// assert!(sqlite::APPEND.contains("scalekit_event"));
/// ```
pub mod sqlite {
    /// Appends one event in the caller's transaction.
    pub const APPEND: &str = include_str!("sql/sqlite/append.sql");
}
