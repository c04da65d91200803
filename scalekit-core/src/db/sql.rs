//! Every statement of this crate as static SQL, for a service that runs them with another driver or ORM.
//!
//! The first lines of each name its binds and its result. [`claim`](super::claim) and
//! [`finish`](super::finish) show the order in which they are used.

/// The statements for Postgres.
///
/// ```
/// use scalekit_core::db::sql::postgres;
/// assert!(postgres::CLAIM.contains("scalekit.claim"));
/// ```
pub mod postgres {
    /// Claims an id, or returns the record of the one who did before.
    pub const CLAIM: &str = include_str!("../sql/postgres/claim.sql");
    /// The record of a claim that committed while [`CLAIM`] ran.
    pub const CLAIM_LOOKUP: &str = include_str!("../sql/postgres/claim_lookup.sql");
    /// Stores the answer with the claim.
    pub const FINISH: &str = include_str!("../sql/postgres/finish.sql");
    /// Deletes claims whose retention is over.
    pub const SWEEP_CLAIMS: &str = include_str!("../sql/postgres/sweep_claims.sql");
    /// The schema and the table of the migration ledger.
    pub const CREATE_LEDGER: &str = include_str!("../sql/postgres/create_ledger.sql");
    /// Serialises migrations for the length of a transaction.
    pub const LOCK_LEDGER: &str = include_str!("../sql/postgres/lock_ledger.sql");
    /// Whether there is a ledger.
    pub const HAS_LEDGER: &str = include_str!("../sql/postgres/has_ledger.sql");
    /// What a role that serves requests needs, for `psql -v role=NAME`; it needs no DDL.
    pub const GRANTS: &str = include_str!("../../migrations/postgres/grants.psql");
    /// All applied migrations.
    pub const READ_LEDGER: &str = include_str!("../sql/postgres/read_ledger.sql");
    /// Notes a migration as applied.
    pub const WRITE_LEDGER: &str = include_str!("../sql/postgres/write_ledger.sql");
    /// Commits, as one simple query; its first statement fails where the transaction has.
    ///
    /// The first row tells whether the commit is flushed (anything but `off`), the second one the flushed and the
    /// inserted position. `synchronous_commit` is read before the commit, which ends a `set local`. A transaction is
    /// open afterwards, and empty: roll it back.
    pub const COMMIT: &str = include_str!("../sql/postgres/commit.sql");
}

/// The statements for SQLite.
///
/// ```
/// use scalekit_core::db::sql::sqlite;
/// assert!(sqlite::CLAIM.contains("scalekit_claim"));
/// ```
pub mod sqlite {
    /// Claims an id.
    pub const CLAIM: &str = include_str!("../sql/sqlite/claim.sql");
    /// The live record of a claim.
    pub const CLAIM_LOOKUP: &str = include_str!("../sql/sqlite/claim_lookup.sql");
    /// Stores the answer with the claim.
    pub const FINISH: &str = include_str!("../sql/sqlite/finish.sql");
    /// The table of the migration ledger.
    pub const CREATE_LEDGER: &str = include_str!("../sql/sqlite/create_ledger.sql");
    /// All applied migrations.
    pub const READ_LEDGER: &str = include_str!("../sql/sqlite/read_ledger.sql");
    /// Notes a migration as applied.
    pub const WRITE_LEDGER: &str = include_str!("../sql/sqlite/write_ledger.sql");
    /// Deletes claims whose retention is over.
    pub const SWEEP_CLAIMS: &str = include_str!("../sql/sqlite/sweep_claims.sql");
}
