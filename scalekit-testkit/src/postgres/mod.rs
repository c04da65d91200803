//! Private Postgres servers and databases.
mod builder;
mod cluster;
mod database;
mod server;

pub use builder::{Postgres, PostgresBuilder};
pub use database::{Database, Template};
pub use server::PostgresServer;
