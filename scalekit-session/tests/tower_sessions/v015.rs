//! The tests by the types of core 0.15.

use tower_sessions_core_015 as core;

#[path = "races.rs"]
mod races;
#[path = "records.rs"]
mod records;
