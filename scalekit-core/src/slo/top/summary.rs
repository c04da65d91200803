//! The Space-Saving summary: a fixed number of slots, the least of which the next new key takes over.

use std::cmp::Reverse;
use std::hash::Hash;

use super::index::Index;

/// Counts of the heaviest keys, each with a payload that starts anew when its slot changes owner.
#[derive(Debug)]
pub(in super::super) struct Summary<K, P> {
    slots: Vec<Slot<K, P>>,
    /// Slot numbers, the least count first; slot `s` is at `heap[slots[s].place]`.
    heap: Vec<u32>,
    index: Index,
    capacity: usize,
}

#[derive(Debug)]
pub(in super::super) struct Slot<K, P> {
    pub(in super::super) key: K,
    pub(in super::super) count: u64,
    /// What the count may be too high by.
    pub(in super::super) error: u64,
    pub(in super::super) payload: P,
    hash: u32,
    place: u32,
}

impl<K: Eq + Hash + Clone, P> Summary<K, P> {
    pub(in super::super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, 1 << 24);
        Self {
            slots: Vec::with_capacity(capacity),
            heap: Vec::with_capacity(capacity),
            index: Index::new(capacity),
            capacity,
        }
    }

    /// Adds to a key's count and gives its payload, `fresh` if the key had no slot. The same key must always come
    /// with the same hash.
    #[inline]
    pub(in super::super) fn add(&mut self, hash: u32, key: &K, n: u64, fresh: impl FnOnce() -> P) -> &mut P {
        let slot = match self.find(hash, key) {
            Some(slot) => slot,
            None if self.slots.len() < self.capacity => self.append(hash, key, fresh()),
            None => self.take_over(hash, key, fresh()),
        };
        self.slots[slot].count = self.slots[slot].count.saturating_add(n);
        self.sift_down(self.slots[slot].place as usize);
        &mut self.slots[slot].payload
    }

    /// The payload of a key that has a slot.
    #[inline]
    pub(in super::super) fn get_mut(&mut self, hash: u32, key: &K) -> Option<&mut P> {
        self.find(hash, key).map(|slot| &mut self.slots[slot].payload)
    }

    /// The heaviest first; of equal counts the surer one.
    pub(in super::super) fn top(&self, k: usize) -> Vec<&Slot<K, P>> {
        let mut slots: Vec<_> = self.slots.iter().collect();
        slots.sort_by_key(|slot| (Reverse(slot.count), slot.error));
        slots.truncate(k);
        slots
    }

    /// Makes the past weigh half as much.
    pub(in super::super) fn halve(&mut self, mut payload: impl FnMut(&mut P)) {
        // The order stays, so the heap does.
        for slot in &mut self.slots {
            slot.count /= 2;
            slot.error = slot.error.div_ceil(2).min(slot.count);
            payload(&mut slot.payload);
        }
    }

    pub(in super::super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(in super::super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes on the heap, without what keys and payloads own themselves.
    pub(in super::super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<K, P>>()
            + self.heap.capacity() * size_of::<u32>()
            + self.index.bytes()
    }

    #[inline]
    fn find(&self, hash: u32, key: &K) -> Option<usize> {
        self.index.find(hash, |slot| self.slots[slot].key == *key)
    }

    fn append(&mut self, hash: u32, key: &K, payload: P) -> usize {
        let slot = self.slots.len();
        self.slots.push(Slot { key: key.clone(), count: 0, error: 0, payload, hash, place: slot as u32 });
        self.heap.push(slot as u32);
        self.index.insert(hash, slot);
        // A count of 0 is the least: up to the top of the heap, from where it sinks to its place.
        let mut place = slot;
        while place > 0 {
            let parent = (place - 1) / ARITY;
            self.swap(place, parent);
            place = parent;
        }
        slot
    }

    fn take_over(&mut self, hash: u32, key: &K, payload: P) -> usize {
        let slot = self.heap[0] as usize;
        self.index.remove(self.slots[slot].hash, slot);
        self.index.insert(hash, slot);
        let least = self.slots[slot].count;
        self.slots[slot] = Slot { key: key.clone(), count: least, error: least, payload, hash, place: 0 };
        slot
    }

    #[inline]
    fn sift_down(&mut self, mut place: usize) {
        loop {
            let first = place * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.count_at(*child)) else { return };
            if self.count_at(least) >= self.count_at(place) {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    #[inline]
    fn count_at(&self, place: usize) -> u64 {
        self.slots[self.heap[place] as usize].count
    }

    #[inline]
    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.slots[self.heap[a] as usize].place = a as u32;
        self.slots[self.heap[b] as usize].place = b as u32;
    }
}

impl<K, P> Slot<K, P> {
    pub(in super::super) fn hash(&self) -> u32 {
        self.hash
    }
}

/// A heap of few levels: a count that grows by one seldom sinks more than one of them.
const ARITY: usize = 4;
