//! Which tenants have a series of their own, and counters that add up to all whoever comes and goes.

use std::collections::VecDeque;

use super::super::top::{Index, TopKey};
use super::{TenantCounts, TenantExport, TenantTally};

/// The most tenants by volume, and the most by misses, that have a series.
pub(super) const EACH: usize = 10;
const PLACES: usize = 2 * EACH;
const MINUTE: u64 = 60_000_000_000;
/// A tenant keeps its series this long after it was last among the top.
const STAY: u64 = 10 * MINUTE;
const HOUR: u64 = 60 * MINUTE;
/// New series per hour; volume leaves some to those who begin to fail.
const JOINS: usize = 10;
const JOINS_BY_VOLUME: usize = 6;

#[derive(Debug)]
pub(super) struct Exports {
    places: Vec<Place>,
    index: Index,
    /// When the last ones came, and whether by volume.
    joins: VecDeque<(u64, bool)>,
    other: TenantTally,
    former: TenantTally,
}

#[derive(Debug)]
struct Place {
    key: TopKey,
    hash: u32,
    counts: TenantTally,
    last_top: u64,
}

/// A tenant that should have a series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) key: TopKey,
    pub(super) hash: u32,
    pub(super) by_volume: bool,
}

impl Exports {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::with_capacity(PLACES),
            index: Index::new(2 * PLACES),
            joins: VecDeque::with_capacity(JOINS),
            other: TenantTally::default(),
            former: TenantTally::default(),
        }
    }

    /// Counts an event where it belongs now: in exactly one place.
    #[inline]
    pub(super) fn count(&mut self, tenant: Option<(u32, &[u8])>, good: bool) {
        let place = tenant.and_then(|(hash, name)| self.find(hash, name));
        place.map_or(&mut self.other, |place| &mut self.places[place].counts).count(good);
    }

    /// Lets tenants come and go; the most urgent candidate comes first.
    pub(super) fn refresh(&mut self, now: u64, candidates: &[Candidate]) {
        for candidate in candidates {
            if let Some(place) = self.find(candidate.hash, candidate.key.as_bytes()) {
                self.places[place].last_top = now;
            }
        }
        while self.joins.front().is_some_and(|(at, _)| now.saturating_sub(*at) >= HOUR) {
            self.joins.pop_front();
        }
        for candidate in candidates {
            if self.find(candidate.hash, candidate.key.as_bytes()).is_none()
                && self.may_join(candidate.by_volume)
            {
                self.join(now, *candidate);
            }
        }
    }

    pub(super) fn export(&self) -> TenantExport {
        let tenants = self.places.iter();
        let tenants = tenants.map(|place| TenantCounts { tenant: place.key, tally: place.counts }).collect();
        TenantExport { tenants, other: self.other, former: self.former }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place>()
            + self.joins.capacity() * size_of::<(u64, bool)>()
            + self.index.bytes()
    }

    fn may_join(&self, by_volume: bool) -> bool {
        let by_volume_before = self.joins.iter().filter(|(_, by_volume)| *by_volume).count();
        self.joins.len() < JOINS && !(by_volume && by_volume_before >= JOINS_BY_VOLUME)
    }

    fn join(&mut self, now: u64, candidate: Candidate) {
        let Candidate { key, hash, by_volume } = candidate;
        let new = Place { key, hash, counts: TenantTally::default(), last_top: now };
        if self.places.len() < PLACES {
            self.index.insert(hash, self.places.len());
            self.places.push(new);
        } else {
            let longest_out = (0..PLACES).min_by_key(|place| self.places[*place].last_top);
            let Some(place) =
                longest_out.filter(|place| now.saturating_sub(self.places[*place].last_top) >= STAY)
            else {
                return;
            };
            self.index.remove(self.places[place].hash, place);
            self.index.insert(hash, place);
            let old = std::mem::replace(&mut self.places[place], new);
            self.former.add(old.counts);
        }
        self.joins.push_back((now, by_volume));
    }

    #[inline]
    fn find(&self, hash: u32, name: &[u8]) -> Option<usize> {
        self.index.find(hash, |place| self.places[place].key.as_bytes() == name)
    }
}
