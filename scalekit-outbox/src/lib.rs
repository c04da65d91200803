//! Transactional outbox: events leave with the commit, in order per key, at least once.
//!
//! A service that commits an order and then tells a broker loses the event if it dies in between; one that tells the
//! broker first announces orders that were never made. Here the event is a row of the same transaction, and a relay
//! carries committed rows to a sink.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # async fn f(pool: sqlx::PgPool, handler: Arc<dyn scalekit_outbox::Handler>) -> scalekit_core::Result<()> {
//! use scalekit_core::{Workers, db::PoolSource};
//! use scalekit_outbox::{Consumer, Event, MemorySink, Outbox, Relay};
//!
//! let outbox = Outbox::new();
//! let mut tx = pool.begin().await?;
//! sqlx::query("update orders set status = 'placed' where id = 17").execute(&mut *tx).await?;
//! let placed = Event::new("order.placed", "order-17", &serde_json::json!({"total_cents": 999}))?;
//! outbox.append(&mut *tx, placed).await?;
//! tx.commit().await?;
//!
//! let sink = Arc::new(MemorySink::new(1024));
//! let relay = Relay::new("main", Arc::new(PoolSource::new(pool)), sink.clone())?.with_outbox(&outbox);
//! let mut workers = Workers::default();
//! workers.spawn(Arc::new(relay));
//! workers.spawn(Arc::new(Consumer::of_memory(sink, handler)));
//! # Ok(()) }
//! ```
//!
//! | item | what it is |
//! |---|---|
//! | [`Event`], [`Outbox`] | append events in the transaction of the change they tell of |
//! | [`Relay`] | carries committed events to a sink, any number of them side by side |
//! | [`Sink`], [`MemorySink`] | where events go |
//! | `RedisSink`, `RedisStreams` | Redis Streams, with the feature `redis` |
//! | [`Consumer`], [`Handler`] | what is done about an event, in order per key |
//! | [`Inbox`] | makes the effect of an event once, however often it arrives |
//! | [`MIGRATIONS`], [`sql`] | the tables; every statement, for other drivers |
//!
//! **Guaranteed**: an event is sent if and only if its transaction commits, at least once, with a stable id, and not
//! before the commit is durable. Events of one key keep their order if the writers of that key take turns before they
//! append (a row lock, a version check); a slow transaction is neither skipped nor overtaken on its keys, and holds
//! nobody else up. With an [`Inbox`] the effect happens once.
//!
//! **Not guaranteed**: order between keys; order among writers of a key that do not take turns; that an event whose
//! commit is lost in a failover to a lagging replica was not sent; that Redis keeps what it confirmed if it is run
//! without `appendonly yes` or fails over to a replica that lags; that a database that was moved to another system
//! goes on without repetitions, nor without a loss if relays ran during the move, or if the clocks of the two differ by
//! more than it took.

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
