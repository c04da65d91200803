//! What the benchmarks measure, and how: written once, so that the peers' workspace runs the same code beside them.
//!
//! A benchmark is a plain program. It runs its cases in turns, many short rounds each, and prints how they
//! compare: a load that comes and goes on the machine meets all of them alike.
#![allow(clippy::missing_panics_doc, reason = "a benchmark fails by panicking")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]

pub mod app;
pub mod duel;
pub mod idempotency;
pub mod outbox;
pub mod session;
pub mod shard;
pub mod slo;
