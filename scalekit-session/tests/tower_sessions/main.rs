//! What the store for tower-sessions keeps and refuses: each test on Redis and in memory, by each version's types.
#![cfg(all(feature = "redis", any(feature = "tower-sessions-014", feature = "tower-sessions-015")))]
#![allow(clippy::duplicate_mod, reason = "once for the types of each version")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

#[path = "../common/mod.rs"]
mod common;
mod fixture;
#[cfg(feature = "tower-sessions-014")]
mod v014;
#[cfg(feature = "tower-sessions-015")]
mod v015;
