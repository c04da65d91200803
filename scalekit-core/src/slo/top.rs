//! The heaviest keys of a stream in bounded memory.

mod index;
mod key;
mod summary;

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

use serde::Serialize;

pub use key::TopKey;

pub(super) use self::index::Index;
pub(super) use self::summary::{Entry, Summary};

/// Finds the heaviest of any number of keys with a fixed number of slots (Metwally, Agrawal and El Abbadi's
/// Space-Saving).
///
/// # Guarantees
///
/// - `count - error <= true count <= count` for each key it returns.
/// - A key heavier than `total / capacity` is always among its slots; an error is at most `total / capacity`.
/// - Memory does not depend on the number of keys: a slot is the key and 52 bytes. Keys from
///   clients go in as [`TopKey`], which bounds their size, too (longer than 64 bytes: by their hash).
///
/// # Non-guarantees
///
/// - A lighter key may be missing, or have a count that is mostly error: look at [`TopEntry::error`].
/// - It counts since it was made; call [`halve`](Self::halve) at a steady pace to look at recent times.
///
/// ```
/// use scalekit_core::slo::{TopK, TopKey};
///
/// let mut hot = TopK::new(64);
/// for key in ["acme", "zenith", "acme"] {
///     hot.add(&TopKey::new(key), 1);
/// }
/// let top = hot.top(1);
/// assert_eq!((top[0].key.as_str(), top[0].count, top[0].error), ("acme", 2, 0));
/// assert_eq!(hot.total(), 3);
/// ```
pub struct TopK<K> {
    summary: Summary<K, ()>,
    hasher: RandomState,
    total: u64,
}

/// A key and how often it came; [`TopK`] has an example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TopEntry<K> {
    /// The key.
    pub key: K,
    /// How often it came at most.
    pub count: u64,
    /// By how much the count may be too high.
    pub error: u64,
}

impl<K: Eq + Hash + Clone> TopK<K> {
    /// What [`Default`] takes: 256 slots, errors below 0.4 % of all.
    pub const DEFAULT_CAPACITY: usize = 256;

    /// A summary with this many slots, at least 1 and at most 2^24, allocated at once.
    pub fn new(capacity: usize) -> Self {
        Self { summary: Summary::new(capacity), hasher: RandomState::new(), total: 0 }
    }

    /// Counts a key `n` times.
    pub fn add(&mut self, key: &K, n: u64) {
        self.total = self.total.saturating_add(n);
        let hash = (self.hasher.hash_one(key) >> 32) as u32;
        self.summary.add(hash, |other| other == key, n, || (key.clone(), ()));
    }

    /// The heaviest keys, the heaviest first; at most as many as there are slots.
    pub fn top(&self, k: usize) -> Vec<TopEntry<K>> {
        let entry = |entry: Entry<'_, K, ()>| TopEntry {
            key: entry.key.clone(),
            count: entry.count,
            error: entry.error,
        };
        self.summary.top(k).into_iter().map(entry).collect()
    }

    /// Makes all that came so far weigh half as much; counts and errors stay right to one.
    pub fn halve(&mut self) {
        self.total /= 2;
        self.summary.halve(|()| ());
    }

    /// All that was added, of keys that have no slot any more too.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Keys that have a slot.
    pub fn len(&self) -> usize {
        self.summary.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots.
    pub fn capacity(&self) -> usize {
        self.summary.capacity()
    }

    /// Bytes of memory, without what keys own on the heap themselves; it never changes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.summary.bytes()
    }
}

impl<K: Eq + Hash + Clone> Default for TopK<K> {
    fn default() -> Self {
        Self::new(Self::DEFAULT_CAPACITY)
    }
}

impl<K> fmt::Debug for TopK<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys may be ids.
        f.debug_struct("TopK").field("total", &self.total).finish_non_exhaustive()
    }
}
