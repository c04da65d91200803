//! A receiver of OpenTelemetry metrics, and a plain view of what it was sent.
mod client;
mod points;
mod receiver;
mod serve;

pub use client::OtlpClient;
pub use points::{OtlpData, OtlpPoint, OtlpTemporality};
pub use receiver::OtlpReceiver;
