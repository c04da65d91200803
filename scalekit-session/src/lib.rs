//! Sessions outside the process.
//!
//! (crate docs follow)

mod address;
mod commit;
mod cookie;
mod field;
mod identity;
mod inner;
mod layer;
mod metrics;
mod ops;
mod participant;
mod pending;
mod principal;
mod session;
mod sessions;
pub mod store;

pub use cookie::Cookie;
pub use field::{Counter, CounterMap, Field};
pub use identity::{Current, Sibling};
pub use layer::SessionLayer;
pub use metrics::Metrics;
pub use ops::SessionOps;
pub use principal::SessionPrincipal;
pub use session::{Applied, Session};
pub use sessions::{Sessions, SessionsBuilder};
#[cfg(feature = "redis")]
pub use store::redis::RedisStore;
pub use store::{Store, memory::MemoryStore};
