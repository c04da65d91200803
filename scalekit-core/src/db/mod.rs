//! One unit of work on Postgres, and its embedded twin on SQLite.
//!
//! [`Tx`] is the transaction that the business write, the idempotency record and the outbox events share.
//! A [`TxSource`] opens it on the database that holds the principal's data: [`PoolSource`] from one pool,
//! a topology from many. A service that keeps its own transactions calls the functions that take a
//! connection ([`claim`], [`finish`]) on those instead.

mod backend;
mod claim;
mod error;
#[cfg(feature = "http")]
mod extract;
mod migrate;
mod pooler;
mod postgres;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod sweep;
mod tx;

pub use backend::{Db, DbConnection};
pub use claim::{Answer, Claim, ClaimId, Claimed, Finished, claim, finish};
#[cfg(feature = "http")]
pub use extract::TxSlot;
pub use migrate::{MIGRATIONS, Migration, migrate};
pub use pooler::Pooler;
pub use source::{PoolSource, TxSource};
#[cfg(feature = "sqlite")]
pub use sqlite::{FileLock, SqliteSource};
pub use sqlx::Postgres;
#[cfg(feature = "sqlite")]
pub use sqlx::Sqlite;
pub use sweep::ClaimSweeper;
pub use tx::Tx;

pub mod sql;
