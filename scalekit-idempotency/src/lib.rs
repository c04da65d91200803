//! Idempotency keys that share the transaction of the business write.
//!
//! A client, a proxy or a queue that saw no answer sends the request again, and a card is charged twice. With
//! [`Idempotency`] around a route, the retry gets the first answer back: the key's record and the handler's
//! writes are one Postgres transaction, so there is no moment at which one exists without the other.
//!
//! | failure | what is left | the retry |
//! |---|---|---|
//! | killed before COMMIT | nothing | executes |
//! | killed after COMMIT | the effect and the answer | replays |
//! | handler panics, fails or answers 400 and above | nothing | executes |
//! | handler hangs | nothing: the deadline ends it, also in the database | executes |
//! | database gone before COMMIT | nothing; 503 | executes |
//! | database gone during COMMIT | unknown; 503 | executes or replays, whichever is right |

mod after;
mod answer;
mod body;
mod config;
mod count;
mod execute;
mod fingerprint;
mod flight;
mod key;
mod manager;
mod state;
mod step;
mod stored;
mod turn;

pub use config::{Builder, NoScope, Scoped};
pub use count::Counters;
pub use manager::Idempotency;
pub use state::Effect;
pub use step::Step;
