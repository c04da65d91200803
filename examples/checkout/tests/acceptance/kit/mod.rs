//! What all attacks share: servers, the shop as a process, a browser, a payment provider, and the rows in between.

mod browser;
mod ledger;
mod provider;
mod shop;

pub(crate) use browser::{Answer, Browser, key};
pub(crate) use ledger::Ledger;
pub(crate) use provider::Provider;
pub(crate) use shop::{Ring, Servers, Shop, embedded, rng};

use std::time::Duration;

pub(crate) use scalekit_testkit::evidence;

/// How long anything that must come may take; only a failure waits that long.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// One number for `make test`, another one for `make soak`.
pub(crate) fn size<T>(small: T, full: T) -> T {
    if scalekit_testkit::full() { full } else { small }
}

/// The value that this share of the samples does not exceed.
pub(crate) fn percentile(samples: &mut [Duration], share: f64) -> Duration {
    assert!(!samples.is_empty(), "no samples");
    samples.sort_unstable();
    let rank = (samples.len() as f64 * share).ceil() as usize;
    samples[rank.clamp(1, samples.len()) - 1]
}
