//! What a topology needs to know about its database.

use std::{fmt::Debug, future::Future, time::Duration};

use scalekit_core::{
    Result, Signals,
    db::{Db, Tx},
};
use sqlx::Pool;

/// A database that shards can be on: Postgres, or SQLite with the feature `sqlite`. Sealed, as [`Db`] is.
///
/// ```
/// fn all_on_one<D: scalekit_shard::Engine>(_: &scalekit_shard::Topology<D>) {}
/// ```
pub trait Engine: Db {
    /// What all its shards share: what stands before Postgres, the locks of SQLite's files.
    #[doc(hidden)]
    type Settings: Clone + Debug + Default + Send + Sync + 'static;
    /// Transactions of one pool.
    #[doc(hidden)]
    type Source: Clone + Debug + Send + Sync + 'static;

    /// Opens nothing yet.
    #[doc(hidden)]
    fn pool(url: &str, size: PoolSize) -> Result<Pool<Self>>;

    #[doc(hidden)]
    fn source(pool: Pool<Self>, settings: &Self::Settings, size: PoolSize, signals: Signals) -> Self::Source;

    #[doc(hidden)]
    fn begin(source: &Self::Source) -> impl Future<Output = Result<Tx<Self>>> + Send;

    /// What the database says it is; `None` if it is the topology's own in any case.
    #[doc(hidden)]
    fn identity(tx: &mut Tx<Self>) -> impl Future<Output = Result<Option<String>>> + Send;

    #[doc(hidden)]
    fn is_down(source: &Self::Source) -> bool;

    #[doc(hidden)]
    fn place(pool: &Pool<Self>) -> Place;
}

/// How large a pool is and how long it may be waited for.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    pub(crate) max: u32,
    pub(crate) acquire: Duration,
}

/// Where a pool connects to.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) server: String,
    pub(crate) database: String,
    pub(crate) role: String,
}

impl Place {
    /// Whether both reach the same rows.
    pub(crate) fn same_rows(&self, other: &Self) -> bool {
        (&self.server, &self.database) == (&other.server, &other.database)
    }
}
