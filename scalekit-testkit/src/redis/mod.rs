//! Private Redis servers.
mod admin;
mod builder;
mod server;
mod tls;

pub use builder::{Redis, RedisBuilder};
pub use server::RedisServer;
