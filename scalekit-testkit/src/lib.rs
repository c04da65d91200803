//! The test kit of scalekit: private servers, fault injection and counting, for scalekit's own tests.
//!
//! Every server is a child process of the test, on a loopback port and in a directory of its own, and it serves
//! when it is handed out. None outlives the test process, even if that is killed by SIGKILL: a guard process
//! sees the pipe to the test process close, ends the servers and removes the directory. A program that is
//! missing fails the test with the name of the package to install.
//!
//! ```
//! use scalekit_testkit::{Proxy, Redis};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> redis::RedisResult<()> {
//! let server = Redis::start().await;
//! let proxy = Proxy::to(server.addr()).await;
//! let client = redis::Client::open(format!("redis://{}", proxy.addr()))?;
//! let mut connection = client.get_multiplexed_async_connection().await?;
//! proxy.reset();
//! let _: () = redis::cmd("SET").arg("k").arg("v").query_async(&mut connection).await?;
//! assert_eq!(proxy.round_trips(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! Whatever goes wrong in the kit itself fails the test by a panic that says what to do.
#![allow(clippy::missing_panics_doc, reason = "the kit reports every failure to the test by a panic")]

mod cancel;
mod clients;
mod mode;
mod nats;
mod os;
#[cfg(feature = "otlp")]
mod otlp;
mod postgres;
mod program;
mod prometheus;
mod proxy;
mod random;
mod redis;
mod wait;

pub use cancel::drop_at_each_await;
pub use clients::at_once;
pub use mode::{evidence, full};
pub use nats::Nats;
pub use os::{Port, free_port};
#[cfg(feature = "otlp")]
pub use otlp::{OtlpClient, OtlpData, OtlpPoint, OtlpReceiver, OtlpTemporality};
pub use postgres::{
    Database, PgBouncer, PgBouncerBuilder, Postgres, PostgresBuilder, PostgresServer, Template,
};
pub use program::{Program, Running};
pub use prometheus::{Prometheus, PrometheusBuilder, PrometheusSample};
pub use proxy::Proxy;
pub use random::{Rng, seed};
pub use redis::{Redis, RedisBuilder, RedisCluster, RedisClusterBuilder, RedisServer};
pub use wait::wait_until;
