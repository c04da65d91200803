//! SQLite files: what runs when nothing is asked for.

pub(crate) use scalekit::db::Sqlite as Database;

/// The schemes of `--shard` that this build opens.
pub(crate) const SCHEMES: &[&str] = &["sqlite:"];
/// Whether there is no shard without `--shard`.
pub(crate) const NEEDS_SHARDS: bool = false;

#[cfg(test)]
pub(crate) const EXAMPLE: &str = "sqlite:///tmp/shard.db";

/// The statements of the shop.
pub(crate) mod sql {
    pub(crate) const INSERT_ORDER: &str = include_str!("../sql/sqlite/insert_order.sql");
}
