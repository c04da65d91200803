//! The shop as its users meet it: real processes, spoken to over HTTP, on real servers that fail under them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod kit;

mod bad_input;
mod crashes;
mod forged;
mod one_order;
mod outages;
mod pods;
mod process;
mod rotation;
mod secrets;
mod shopping;
mod trickle;
