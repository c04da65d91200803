//! What happened, as numbers that only grow.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of what happened to the sessions of one [`Sessions`](crate::Sessions) since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Sessions read from the store.
    pub loads: u64,
    /// Commits that arrived: changes, new sessions, sign-ins, sign-outs.
    pub commits: u64,
    /// Writes that were dropped because the session had ended.
    pub gone: u64,
    /// Re-runs of an `update` that another request had overtaken.
    pub conflicts: u64,
    /// Calls that the store did not answer, or not in time.
    pub unavailable: u64,
    /// Fields that could not be read and say that this is to be ignored.
    pub undecodable: u64,
    /// Responses that were to be kept by shared caches, and were made private because they carry a session's cookie.
    pub made_private: u64,
    /// Reads of a session that was larger than [`soft_size`](crate::SessionsBuilder::soft_size).
    pub large: u64,
    /// Sessions that got a new secret without a sign-in.
    pub rotations: u64,
    /// Requests with a secret that had been rotated, its grace over: somebody has kept or taken it.
    pub reused: u64,
    /// Cookies of the right name that none of our keys has signed.
    pub forged: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) loads: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) gone: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) unavailable: AtomicU64,
    pub(crate) undecodable: AtomicU64,
    pub(crate) made_private: AtomicU64,
    pub(crate) large: AtomicU64,
    pub(crate) rotations: AtomicU64,
    pub(crate) reused: AtomicU64,
    pub(crate) forged: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Metrics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            loads: read(&self.loads),
            commits: read(&self.commits),
            gone: read(&self.gone),
            conflicts: read(&self.conflicts),
            unavailable: read(&self.unavailable),
            undecodable: read(&self.undecodable),
            made_private: read(&self.made_private),
            large: read(&self.large),
            rotations: read(&self.rotations),
            reused: read(&self.reused),
            forged: read(&self.forged),
        }
    }
}

/// Counts one more; how many there were before.
pub(crate) fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed)
}
