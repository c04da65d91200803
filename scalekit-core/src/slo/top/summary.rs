//! The Space-Saving summary: a fixed number of slots, the least of which the next new key takes over.

use std::cmp::Reverse;

use super::index::Index;

/// Counts of the heaviest keys, each with a payload that starts anew when its slot changes owner.
///
/// What every event touches is dense: 16 bytes of heap and 8 of index per slot. Callers bring hash and comparison, so
/// that a key need not be made for one that is there.
#[derive(Debug)]
pub(in super::super) struct Summary<K, P> {
    /// The least count first.
    heap: Vec<Node>,
    /// Where in the heap each slot is.
    places: Vec<u32>,
    owners: Vec<Owner<K>>,
    payloads: Vec<P>,
    index: Index,
    capacity: usize,
}

/// A heap of few levels, and four children are one cache line.
const ARITY: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Node {
    count: u64,
    slot: u32,
}

#[derive(Debug)]
struct Owner<K> {
    key: K,
    error: u64,
    hash: u32,
}

/// What is known of a key.
#[derive(Debug)]
pub(in super::super) struct Entry<'a, K, P> {
    pub(in super::super) key: &'a K,
    pub(in super::super) hash: u32,
    pub(in super::super) count: u64,
    /// What the count may be too high by.
    pub(in super::super) error: u64,
    pub(in super::super) payload: &'a P,
}

impl<K, P> Summary<K, P> {
    pub(in super::super) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, 1 << 24);
        Self {
            heap: Vec::with_capacity(capacity),
            places: Vec::with_capacity(capacity),
            owners: Vec::with_capacity(capacity),
            payloads: Vec::with_capacity(capacity),
            index: Index::new(capacity),
            capacity,
        }
    }

    /// Adds to a key's count and gives its payload, `fresh` if the key had no slot. The same key must always come
    /// with the same hash.
    #[inline]
    pub(in super::super) fn add(
        &mut self,
        hash: u32,
        is_it: impl Fn(&K) -> bool,
        n: u64,
        fresh: impl FnOnce() -> (K, P),
    ) -> &mut P {
        let slot = match self.index.find(hash, |slot| is_it(&self.owners[slot].key)) {
            Some(slot) => slot,
            None if self.heap.len() < self.capacity => self.append(hash, fresh()),
            None => self.take_over(hash, fresh()),
        };
        self.grow(self.places[slot] as usize, n);
        &mut self.payloads[slot]
    }

    /// The payload of a key that has a slot.
    #[inline]
    pub(in super::super) fn get_mut(&mut self, hash: u32, is_it: impl Fn(&K) -> bool) -> Option<&mut P> {
        let slot = self.index.find(hash, |slot| is_it(&self.owners[slot].key))?;
        Some(&mut self.payloads[slot])
    }

    /// The heaviest first; of equal counts the surer one.
    pub(in super::super) fn top(&self, k: usize) -> Vec<Entry<'_, K, P>> {
        let entry = |node: &Node| {
            let slot = node.slot as usize;
            let Owner { key, error, hash } = &self.owners[slot];
            Entry { key, hash: *hash, count: node.count, error: *error, payload: &self.payloads[slot] }
        };
        let mut entries: Vec<_> = self.heap.iter().map(entry).collect();
        entries.sort_by_key(|entry| (Reverse(entry.count), entry.error));
        entries.truncate(k);
        entries
    }

    /// Makes the past weigh half as much.
    pub(in super::super) fn halve(&mut self, payload: impl FnMut(&mut P)) {
        // The order stays, so the heap does.
        for node in &mut self.heap {
            node.count /= 2;
            let error = &mut self.owners[node.slot as usize].error;
            *error = error.div_ceil(2).min(node.count);
        }
        self.payloads.iter_mut().for_each(payload);
    }

    pub(in super::super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(in super::super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes on the heap, without what keys and payloads own themselves.
    pub(in super::super) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Node>()
            + self.places.capacity() * size_of::<u32>()
            + self.owners.capacity() * size_of::<Owner<K>>()
            + self.payloads.capacity() * size_of::<P>()
            + self.index.bytes()
    }

    fn append(&mut self, hash: u32, (key, payload): (K, P)) -> usize {
        let slot = self.heap.len();
        self.owners.push(Owner { key, error: 0, hash });
        self.payloads.push(payload);
        self.index.insert(hash, slot);
        self.places.push(slot as u32);
        self.heap.push(Node { count: 0, slot: slot as u32 });
        // A count of 0 is the least: up to the top of the heap, from where it sinks to its place.
        let mut place = slot;
        while place > 0 {
            let parent = (place - 1) / ARITY;
            let node = self.heap[parent];
            self.put(place, node);
            place = parent;
        }
        self.put(0, Node { count: 0, slot: slot as u32 });
        slot
    }

    fn take_over(&mut self, hash: u32, (key, payload): (K, P)) -> usize {
        let Node { count, slot } = self.heap[0];
        let slot = slot as usize;
        self.index.remove(self.owners[slot].hash, slot);
        self.index.insert(hash, slot);
        self.owners[slot] = Owner { key, error: count, hash };
        self.payloads[slot] = payload;
        slot
    }

    /// Adds to the count of a node, which sinks below all that are less.
    #[inline]
    fn grow(&mut self, mut place: usize, n: u64) {
        let mut node = self.heap[place];
        node.count = node.count.saturating_add(n);
        loop {
            let first = place * ARITY + 1;
            let children = first..(first + ARITY).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.heap[*child].count) else { break };
            let child = self.heap[least];
            if child.count >= node.count {
                break;
            }
            self.put(place, child);
            place = least;
        }
        self.put(place, node);
    }

    #[inline]
    fn put(&mut self, place: usize, node: Node) {
        self.heap[place] = node;
        self.places[node.slot as usize] = place as u32;
    }
}
