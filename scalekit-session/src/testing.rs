//! For the tests of applications: whether one survives a rolling deployment without sticky sessions.
//!
//! Start with [`RollingRestart`]. Put the feature among the dev-dependencies only:
//! `scalekit-session = { version = "..", features = ["testing"] }`.

mod answer;
mod browser;
mod fleet;
mod report;
mod rolling;
mod user;

pub use answer::{Answer, Visitor};
pub use fleet::Node;
pub use report::{Failure, FailureKind, Report};
pub use rolling::RollingRestart;
