//! Private Postgres servers and databases.
mod bouncer;
mod builder;
mod cluster;
mod copy;
mod database;
mod server;
mod standby;

pub use bouncer::{PgBouncer, PgBouncerBuilder};
pub use builder::{Postgres, PostgresBuilder};
pub use database::{Database, Template};
pub use server::PostgresServer;
