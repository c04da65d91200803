//! What the SLO layer guarantees, attacked: conservation, exact thresholds, time to the end of the body, bounds, text.
#![cfg(feature = "slo")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod bodies;
mod bounds;
mod budget;
mod conservation;
mod counting;
mod declaration;
mod journeys;
mod lag;
mod mishaps;
mod openmetrics;
mod overrides;
mod parse;
mod shapes;
mod support;
mod tenants;
mod text;
mod thresholds;
mod top;
mod zipf;
