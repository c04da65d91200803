//! Shard routing over sqlx: stable slots, versioned maps, one pool per database, connection budgets.
//!
//! A key is hashed to one of 16,384 slots ([`skh1`](scalekit_core::skh1): the same in every language), a versioned
//! [`ShardMap`] says which shard a slot is on, and a [`Topology`] opens the transaction there. No proxy, no
//! extension; the databases you have.
//!
//! ```
//! use scalekit_shard::ShardMap;
//!
//! let map = ShardMap::even(["s0", "s1", "s2"])?.with_pin("the-big-one", "s2")?;
//! let placed = map.place("acme");
//! println!("{} is on {}", placed.slot, map.name(placed.shard));
//! # Ok::<(), scalekit_core::Error>(())
//! ```
//!
//! | guaranteed | not guaranteed |
//! |---|---|
//! | equal maps place every key alike, in every process, version and language | that the rows are there: a map moves none |
//! | every slot has exactly one shard; a map with a gap, an overlap or an unknown name is refused | transactions over several shards |
//! | with a [`Budget`], a topology that could open more connections than a server has is not built | that the servers are set up as declared |
//!
//! | when | then |
//! |---|---|
//! | a shard's server refuses connections | its transactions fail at once as unavailable, one try per 100 ms; other shards do not notice |
//! | a shard's server hangs | its transactions fail after 500 ms, at once after three in a row |
//!
//! Features: `postgres` (default) and `sqlite`, for demos and unit tests. Without them there are maps and budgets alone.

mod budget;
#[cfg(feature = "postgres")]
mod builder;
#[cfg(feature = "postgres")]
mod engine;
mod map;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "postgres")]
mod topology;

pub use budget::{Budget, BudgetReport, Pgbouncer, PoolShare};
#[cfg(feature = "postgres")]
pub use builder::TopologyBuilder;
#[cfg(feature = "postgres")]
pub use engine::Engine;
pub use map::{Placement, ShardId, ShardMap};
pub use scalekit_core::skh1::{ShardKey, Slot};
#[cfg(feature = "sqlite")]
pub use sqlite::FileLocks;
#[cfg(feature = "postgres")]
pub use topology::{Explanation, Shard, Topology};
