//! Postgres shards.

use scalekit::{
    Result, Signals,
    shard::{Budget, ShardMap, Topology},
};

use crate::settings::{Settings, ShardSpec};

pub(crate) use scalekit::db::Postgres as Database;

/// The schemes of `--shard` that this build opens.
pub(crate) const SCHEMES: &[&str] = &["postgres://", "postgresql://"];
/// Whether there is no shard without `--shard`.
pub(crate) const NEEDS_SHARDS: bool = true;
/// What each server is taken to accept, and what a pod opens per shard beside the requests' pool.
const MAX_CONNECTIONS: u32 = 200;
const BESIDE: u32 = 4;

/// The shards, and what their servers can bear.
pub(crate) struct Databases {
    shards: Vec<ShardSpec>,
    budget: Budget,
}

impl Databases {
    /// The shards that the settings name.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        // The pods of this process are of those that the whole service runs.
        let pods = settings.processes.max(settings.pods);
        let budget = Budget::direct(MAX_CONNECTIONS).with_processes(pods).with_beside(BESIDE);
        Ok(Self { shards: settings.shards.clone(), budget })
    }

    /// Pools to all shards, for one pod, which hears how long requests wait for them.
    pub(crate) fn topology(&self, pool_max: u32, signals: Signals) -> Result<Topology<Database>> {
        let map = ShardMap::even(self.shards.iter().map(|shard| shard.name.as_str()))?;
        let empty =
            Topology::<Database>::builder(map).with_budget(self.budget.clone()).with_pool_max(pool_max);
        let with = |builder: scalekit::shard::TopologyBuilder<_>, shard: &ShardSpec| {
            builder.with_url(shard.name.as_str(), shard.url.as_str())
        };
        self.shards.iter().fold(empty, with).with_signals(signals).build()
    }

    /// Servers outlive the process.
    pub(crate) fn close(&self) {}
}

#[cfg(test)]
pub(crate) const EXAMPLE: &str = "postgres://localhost/shard";

/// The statements of the shop.
pub(crate) mod sql {
    pub(crate) const INSERT_ORDER: &str = include_str!("../sql/postgres/insert_order.sql");
    pub(crate) const INSERT_ITEMS: &str = include_str!("../sql/postgres/insert_items.sql");
    pub(crate) const ORDER_OF_CART: &str = include_str!("../sql/postgres/order_of_cart.sql");
    pub(crate) const FIND_ORDER: &str = include_str!("../sql/postgres/find_order.sql");
    pub(crate) const LIST_ORDERS: &str = include_str!("../sql/postgres/list_orders.sql");
    pub(crate) const SETTLE_ORDER: &str = include_str!("../sql/postgres/settle_order.sql");
}
