//! The one place that knows which database this build runs on.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(not(feature = "postgres"))]
mod sqlite;

#[cfg(feature = "postgres")]
use postgres as chosen;
#[cfg(not(feature = "postgres"))]
use sqlite as chosen;

/// The database of orders and events. Every handler is written against this name.
pub(crate) type Db = chosen::Database;

pub(crate) use chosen::{NEEDS_SHARDS, SCHEMES, sql};

#[cfg(test)]
pub(crate) use chosen::EXAMPLE;
