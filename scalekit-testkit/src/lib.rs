//! The test kit of scalekit: private servers, fault injection and counting, for scalekit's own tests.
//!
//! Every server is a child process of the test, on a loopback port and in a directory of its own, and it serves
//! when it is handed out. None outlives the test process, even if that is killed by SIGKILL: a guard process
//! sees the pipe to the test process close, ends the servers and removes the directory. A program that is
//! missing fails the test with the name of the package to install.
//!
//! Whatever goes wrong in the kit itself fails the test by a panic that says what to do.
#![allow(clippy::missing_panics_doc, reason = "the kit reports every failure to the test by a panic")]

mod clients;
mod os;
mod postgres;
mod random;
mod redis;

pub use clients::at_once;
pub use os::{Port, free_port};
pub use postgres::{Database, Postgres, PostgresBuilder, PostgresServer, Template};
pub use random::{Rng, seed};
pub use redis::{Redis, RedisBuilder, RedisServer};
