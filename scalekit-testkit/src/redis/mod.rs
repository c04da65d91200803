//! Private Redis servers.
mod admin;
mod builder;
mod cluster;
mod server;
mod tls;

pub use builder::{Redis, RedisBuilder};
pub use cluster::{RedisCluster, RedisClusterBuilder};
pub use server::RedisServer;
