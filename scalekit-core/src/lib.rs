//! What the scalekit crates share.
//!
//! | module or item | feature | what it is |
//! |---|---|---|
//! | [`Error`] | | the one error type |
//! | [`Principal`] | | who a request acts for |
//! | [`AfterCommit`] | | what must follow a commit in another store |
//! | [`Worker`] | | background work that stops when told |
//! | [`Signals`] | | what the crates report: times, outcomes, lags |
//! | [`Gate`] | | fail fast while a store is down |
//! | [`skh1`] | | where a key belongs: bytes, hash, slot |
//! | [`KeyRing`] | | the keys that several processes share |
//! | [`hash_tag`] | | Redis keys that share a slot |
//! | [`redis`] | `redis` | the Redis handle and typed scripts |
//! | `slo` | `slo` | latency per route, objectives, Prometheus text |

mod after_commit;
mod clock;
mod error;
mod gate;
mod hash_tag;
mod position;
mod principal;
mod ring;
mod signals;
mod worker;

#[cfg(feature = "postgres")]
pub mod db;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "redis")]
pub mod redis;
pub mod skh1;
#[cfg(feature = "slo")]
pub mod slo;

pub use after_commit::{AfterCommit, OperationId};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use gate::Gate;
pub use hash_tag::{hash_tag, slot};
pub use position::Position;
pub use principal::Principal;
pub use ring::{KeyRing, Reload};
pub use signals::{Hop, Observer, Signals, Timing};
pub use worker::{Worker, Workers};
