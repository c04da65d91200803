//! What the scalekit crates share.
//!
//! | module or item | feature | what it is |
//! |---|---|---|
//! | [`Error`] | | the one error type |
//! | [`Principal`] | | who a request acts for |
//! | [`AfterCommit`] | | what must follow a commit in another store |
//! | [`Worker`] | | background work that stops when told |
//! | [`Gate`] | | fail fast while a store is down |

mod after_commit;
mod clock;
mod error;
mod gate;
mod position;
mod principal;
mod worker;

#[cfg(feature = "postgres")]
pub mod db;
#[cfg(feature = "http")]
pub mod http;

pub use after_commit::{AfterCommit, OperationId, Participants};
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ErrorKind, Result};
pub use gate::Gate;
pub use position::Position;
pub use principal::Principal;
pub use worker::{Worker, Workers};
