//! scalekit-core
#[cfg(feature = "http")]
pub mod http;
