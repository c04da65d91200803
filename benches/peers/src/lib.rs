//! The peers that measure what our SLO layer measures, each wired as its documentation says.
//!
//! Everything else of this package is in its benchmarks.

pub mod layers;
pub mod recorders;
