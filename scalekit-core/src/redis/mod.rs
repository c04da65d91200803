//! One handle to Redis: bounded in time, failing fast while the server is down, back by itself.
//!
//! Commands and reply types are those of the `redis` crate, re-exported here so that a caller needs no
//! dependency of its own on the same version of it.

mod classify;
mod cluster;
mod config;
mod dedicated;
mod handle;
mod link;
mod node;
mod script;
mod stall;
mod subscription;
#[cfg(feature = "redis-tls")]
mod tls;
#[cfg(not(feature = "redis-tls"))]
#[path = "no_tls.rs"]
mod tls;

pub use ::redis::{Cmd, FromRedisValue, Pipeline, ToRedisArgs, Value, cmd, pipe};

pub use config::RedisConfig;
pub use dedicated::Dedicated;
pub use handle::Redis;
pub use script::{Call, Script};
pub use subscription::{Heard, Subscription};
