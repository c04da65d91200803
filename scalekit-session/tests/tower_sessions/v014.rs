//! The tests by the types of core 0.14.

use tower_sessions_core_014 as core;

#[path = "races.rs"]
mod races;
#[path = "records.rs"]
mod records;
