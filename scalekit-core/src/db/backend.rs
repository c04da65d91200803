//! The two databases, as far as the family needs to tell them apart.

use std::future::Future;

use sqlx::pool::PoolConnection;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Position, Result,
    db::{Answer, Claim, Claimed, Migration},
};

pub(crate) mod sealed {
    /// Closes [`super::Db`] and [`super::DbConnection`] to other crates' types.
    pub trait Sealed {}
}

/// A database that a [`Tx`](crate::db::Tx) can run on: [`Postgres`](crate::db::Postgres), or SQLite with the
/// feature `sqlite`. Sealed.
///
/// ```
/// fn name<D: scalekit_core::db::Db>() -> &'static str { D::NAME }
/// assert_eq!(name::<scalekit_core::db::Postgres>(), "PostgreSQL");
/// ```
pub trait Db: sqlx::Database<Connection: DbConnection<Db = Self>> + sealed::Sealed + Sync {
    /// The statement that opens a transaction, where the default is not the right one.
    #[doc(hidden)]
    const BEGIN: Option<&'static str>;

    /// Lets go of a connection whose transaction may be open; `lock` is released after the rollback.
    #[doc(hidden)]
    fn abandon(conn: PoolConnection<Self>, lock: Option<OwnedSemaphorePermit>);

    /// Closes a connection that may still be busy, or whose BEGIN was not seen to succeed and may still do.
    #[doc(hidden)]
    fn interrupt(conn: PoolConnection<Self>, lock: Option<OwnedSemaphorePermit>);
}

/// A connection of a [`Db`]: the statements that the family's functions run on it. Sealed.
pub trait DbConnection: sqlx::Connection<Database = Self::Db> + sealed::Sealed + Send + 'static {
    /// The database it is a connection of.
    type Db: Db<Connection = Self>;

    #[doc(hidden)]
    fn commit_with_position(&mut self) -> impl Future<Output = Result<Position>> + Send;

    #[doc(hidden)]
    fn claim(&mut self, claim: &Claim) -> impl Future<Output = Result<Claimed>> + Send;

    #[doc(hidden)]
    fn finish(&mut self, claim: &Claim, answer: &Answer) -> impl Future<Output = Result<()>> + Send;

    #[doc(hidden)]
    fn sweep_claims(&mut self, limit: i64) -> impl Future<Output = Result<u64>> + Send;

    #[doc(hidden)]
    fn migrate(&mut self, migrations: &[Migration]) -> impl Future<Output = Result<()>> + Send;
}
