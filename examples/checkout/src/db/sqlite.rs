//! SQLite files: what runs when nothing is asked for.

mod temporary;

use scalekit::{
    Error, ErrorKind, Result, Signals,
    shard::{FileLocks, ShardMap, Topology},
};

use self::temporary::Temporary;
use crate::settings::{Settings, ShardSpec};

pub(crate) use scalekit::db::Sqlite as Database;

/// The schemes of `--shard` that this build opens.
pub(crate) const SCHEMES: &[&str] = &["sqlite:"];
/// Whether there is no shard without `--shard`.
pub(crate) const NEEDS_SHARDS: bool = false;
/// The shards of a process that was given none.
const DEFAULT_SHARDS: [&str; 2] = ["a", "b"];

/// The files of the process, and the queues of their writers, which all its pods share.
pub(crate) struct Databases {
    shards: Vec<ShardSpec>,
    locks: FileLocks,
    temporary: Option<Temporary>,
}

impl Databases {
    /// The shards that the settings name, or two files in a temporary directory.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let (shards, temporary) = match settings.shards.as_slice() {
            [] => {
                let dir = Temporary::new().map_err(|error| {
                    Error::new(ErrorKind::Internal, "no temporary directory").with_source(error)
                })?;
                (DEFAULT_SHARDS.map(|name| file_in(dir.path(), name)).to_vec(), Some(dir))
            }
            given => (given.to_vec(), None),
        };
        tracing::debug!(processes = settings.processes, "files have no connections to budget");
        Ok(Self { shards, locks: FileLocks::default(), temporary })
    }

    /// Pools to all shards, for one pod, which hears how long requests wait for them.
    pub(crate) fn topology(&self, pool_max: u32, signals: Signals) -> Result<Topology<Database>> {
        let map = ShardMap::even(self.shards.iter().map(|shard| shard.name.as_str()))?;
        let empty = Topology::<Database>::builder(map).with_files(self.locks.clone()).with_pool_max(pool_max);
        let with = |builder: scalekit::shard::TopologyBuilder<_>, shard: &ShardSpec| {
            builder.with_url(shard.name.as_str(), shard.url.as_str())
        };
        self.shards.iter().fold(empty, with).with_signals(signals).build()
    }

    /// Removes files that nobody asked to keep.
    pub(crate) fn close(&self) {
        if let Some(dir) = &self.temporary {
            dir.remove();
        }
    }
}

fn file_in(dir: &std::path::Path, name: &str) -> ShardSpec {
    ShardSpec { name: name.to_owned(), url: format!("sqlite://{}", dir.join(format!("{name}.db")).display()) }
}

#[cfg(test)]
pub(crate) const EXAMPLE: &str = "sqlite:///tmp/shard.db";

/// The statements of the shop.
pub(crate) mod sql {
    pub(crate) const INSERT_ORDER: &str = include_str!("../sql/sqlite/insert_order.sql");
    pub(crate) const INSERT_ITEMS: &str = include_str!("../sql/sqlite/insert_items.sql");
    pub(crate) const ORDER_OF_CART: &str = include_str!("../sql/sqlite/order_of_cart.sql");
    pub(crate) const FIND_ORDER: &str = include_str!("../sql/sqlite/find_order.sql");
    pub(crate) const LIST_ORDERS: &str = include_str!("../sql/sqlite/list_orders.sql");
    pub(crate) const SETTLE_ORDER: &str = include_str!("../sql/sqlite/settle_order.sql");
}
