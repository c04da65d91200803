//! What is known of all tenants: two summaries and the exported counters, under one lock.

use super::super::top::{Entry, Summary, TopKey};
use super::exports::{Candidate, EACH, Exports};
use super::tail::Tail;
use super::{Event, TenantExport, TenantRow, TenantTop};

/// The time after which a request weighs half as much in the order of tenants.
const HALF_LIFE: u64 = 3_600_000_000_000;

pub(super) struct State {
    volume: Summary<TopKey, Seen>,
    misses: Summary<TopKey, Seen>,
    exports: Exports,
    halved_at: Option<u64>,
}

/// What a slot's owner did since it has the slot.
struct Seen {
    since: u64,
    good: u64,
    total: u64,
    tail: Tail,
}

impl State {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            volume: Summary::new(capacity),
            misses: Summary::new(capacity),
            exports: Exports::new(),
            halved_at: None,
        }
    }

    #[inline]
    pub(super) fn count(&mut self, now: u64, event: &Event, name: &[u8]) {
        let Event { hash, good, nanos, .. } = *event;
        self.exports.count((!name.is_empty()).then_some((hash, name)), good);
        if name.is_empty() {
            return;
        }
        let is_it = |key: &TopKey| key.as_bytes() == name;
        let fresh = || (TopKey::of_bytes(name), Seen::new(now));
        let bucket = Tail::bucket(nanos);
        self.volume.add(hash, is_it, 1, fresh).count(good, bucket);
        let missing = if good {
            self.misses.get_mut(hash, is_it)
        } else {
            Some(self.misses.add(hash, is_it, 1, fresh))
        };
        if let Some(seen) = missing {
            seen.count(good, bucket);
        }
    }

    /// Lets the past fade.
    pub(super) fn age(&mut self, now: u64) {
        let halved_at = self.halved_at.get_or_insert(now);
        // After 64 halvings nothing is left to halve.
        let halvings = (now.saturating_sub(*halved_at) / HALF_LIFE).min(64);
        // From hour to hour, not from look to look; after 64 of them it is all the same.
        if halvings > 0 {
            *halved_at = now - (now - *halved_at) % HALF_LIFE;
        }
        for _ in 0..halvings {
            self.volume.halve(|seen| seen.tail.halve());
            self.misses.halve(|seen| seen.tail.halve());
        }
    }

    pub(super) fn top(&self, k: usize) -> TenantTop {
        let rows = |summary: &Summary<TopKey, Seen>| summary.top(k).into_iter().map(row).collect();
        TenantTop { by_volume: rows(&self.volume), by_misses: rows(&self.misses) }
    }

    pub(super) fn export(&mut self, now: u64) -> TenantExport {
        let candidates = |summary: &Summary<TopKey, Seen>, by_volume| {
            let top = summary.top(EACH).into_iter();
            // A count that is mostly what others left in the slot proves nothing.
            let proven = top.filter(|entry| entry.count - entry.error > entry.error);
            let candidate =
                |entry: Entry<'_, TopKey, Seen>| Candidate { key: *entry.key, hash: entry.hash, by_volume };
            proven.map(candidate).collect::<Vec<_>>()
        };
        // Who fails first, then who is large.
        let mut all = candidates(&self.misses, false);
        all.extend(candidates(&self.volume, true));
        self.exports.refresh(now, &all);
        self.exports.export()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.volume.bytes() + self.misses.bytes() + self.exports.bytes()
    }
}

impl Seen {
    fn new(now: u64) -> Self {
        Self { since: now, good: 0, total: 0, tail: Tail::new() }
    }

    #[inline]
    fn count(&mut self, good: bool, bucket: usize) {
        self.total += 1;
        self.good += u64::from(good);
        self.tail.count(bucket);
    }
}

fn row(entry: Entry<'_, TopKey, Seen>) -> TenantRow {
    let Seen { since, good, total, tail } = entry.payload;
    TenantRow {
        tenant: *entry.key,
        count: entry.count,
        error: entry.error,
        good: *good,
        total: *total,
        p95: tail.p95(),
        since: *since,
    }
}
