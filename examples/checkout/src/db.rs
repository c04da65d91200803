//! The one place that knows which database this build runs on.

use scalekit::{
    Result,
    db::{self, MIGRATIONS, Migration},
    shard::Shard,
};

use crate::chosen;

/// The database of orders and events. Every handler is written against this name.
pub(crate) type Db = chosen::Database;

pub(crate) use crate::chosen::{Databases, NEEDS_SHARDS, SCHEMES, sql};

#[cfg(test)]
pub(crate) use crate::chosen::EXAMPLE;

/// The tables of the shop.
const SHOP: &[Migration] = &[Migration {
    line: "checkout",
    version: 1,
    name: "orders",
    postgres: include_str!("../migrations/postgres/0001_orders.sql"),
    sqlite: include_str!("../migrations/sqlite/0001_orders.sql"),
}];

/// Creates what is missing of the tables; any number of processes may do so at once.
pub(crate) async fn migrate(shard: &Shard<Db>) -> Result<()> {
    db::migrate(shard.pool(), &[MIGRATIONS, scalekit::outbox::MIGRATIONS, SHOP]).await
}
