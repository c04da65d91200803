//! What the SLO layer guarantees, attacked: conservation, exact thresholds, time to the end of the body, bounds, text.
#![cfg(feature = "slo")]
// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bodies;
mod bounds;
mod conservation;
mod declaration;
mod parse;
mod support;
mod text;
mod thresholds;
