//! Transactional outbox: events leave with the commit, in order per key, at least once.
//!
//! | module or item | what it is |
//! |---|---|
//! | [`Event`], [`Outbox`] | append events in the transaction of the change they tell of |
//! | [`Relay`] | carries committed events to a sink, any number of them side by side |
//! | [`Sink`], [`MemorySink`] | where events go |
//! | `RedisSink`, `RedisStreams` | Redis Streams, with the feature `redis` |
//! | [`Consumer`], [`Handler`] | what is done about an event, in order per key |
//! | [`Inbox`] | makes the effect of an event once, however often it arrives |
//! | [`MIGRATIONS`] | the tables |

mod consumer;
mod db;
mod event;
mod inbox;
mod lane;
mod memory;
mod migrations;
mod outbox;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod relay;
mod scaling;
mod sink;

pub use consumer::{Consumer, Delivered, Handler, Outcome};
pub use db::{OutboxConnection, OutboxDb};
pub use event::Event;
pub use inbox::{Inbox, Received};
pub use lane::{LANES, lane_of};
pub use memory::MemorySink;
pub use migrations::MIGRATIONS;
pub use outbox::{Outbox, Waker};
pub use record::{Lane, LogPosition, Record};
#[cfg(feature = "redis")]
pub use redis::{RedisSink, RedisStreams};
pub use relay::{Parked, Relay};
pub use scaling::{Lag, Scaling, ScalingTarget};
pub use sink::{Poisoned, Sink, SinkError};

pub mod sql;
