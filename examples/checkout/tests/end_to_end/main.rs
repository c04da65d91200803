//! The shop as a whole: the program itself, over HTTP, on the database that this build runs on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod browser;
mod cli;
#[cfg(feature = "failpoints")]
mod crashes;
mod metrics;
mod pods;
mod provider;
mod redis;
mod refusals;
mod rings;
mod shop;
mod shopping;
mod stopping;

#[cfg(feature = "postgres")]
mod servers;

#[cfg(feature = "postgres")]
#[path = "shards_postgres.rs"]
mod shards;
#[cfg(not(feature = "postgres"))]
#[path = "shards_sqlite.rs"]
mod shards;
