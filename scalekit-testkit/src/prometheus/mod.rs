//! A private Prometheus that scrapes what a test serves, and promtool's verdicts.
mod answer;
mod client;
mod promtool;
mod server;

pub use answer::PrometheusSample;
pub use server::{Prometheus, PrometheusBuilder};
