//! Postgres shards.

pub(crate) use scalekit::db::Postgres as Database;

/// The schemes of `--shard` that this build opens.
pub(crate) const SCHEMES: &[&str] = &["postgres://", "postgresql://"];
/// Whether there is no shard without `--shard`.
pub(crate) const NEEDS_SHARDS: bool = true;

#[cfg(test)]
pub(crate) const EXAMPLE: &str = "postgres://localhost/shard";

/// The statements of the shop.
pub(crate) mod sql {
    pub(crate) const INSERT_ORDER: &str = include_str!("../sql/postgres/insert_order.sql");
}
