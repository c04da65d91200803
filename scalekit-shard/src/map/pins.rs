//! Keys with a home of their own: few, so a bit per slot tells most keys that they are not among them.

use scalekit_core::{
    Result,
    skh1::{self, SLOTS, Slot},
};

use super::{ShardId, layout::config};

const MOST: usize = 1_000_000;
const KEY_BYTES: usize = 1_024;

/// Pins ordered by hash and key; the whole key is compared, since hashes collide.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pins {
    sorted: Vec<Pin>,
    guard: Box<[u64]>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pin {
    hash: u64,
    pub(super) key: Box<[u8]>,
    pub(super) shard: ShardId,
}

impl Default for Pins {
    fn default() -> Self {
        Self { sorted: Vec::new(), guard: vec![0; usize::from(SLOTS).div_ceil(64)].into() }
    }
}

impl Pins {
    pub(super) fn add(&mut self, key: Vec<u8>, shard: ShardId) -> Result<()> {
        self.extend([(key, shard)])
    }

    /// Adds many and sorts once.
    pub(super) fn extend(&mut self, pins: impl IntoIterator<Item = (Vec<u8>, ShardId)>) -> Result<()> {
        for (key, shard) in pins {
            if key.len() > KEY_BYTES {
                let length = key.len();
                return Err(config(format!("a pinned key has {length} bytes; at most {KEY_BYTES} can be")));
            }
            let hash = skh1::hash_bytes(&key);
            let slot = usize::from(Slot::of_hash(hash).get());
            self.guard[slot / 64] |= 1 << (slot % 64);
            self.sorted.push(Pin { hash, key: key.into(), shard });
        }
        // The sort is stable: of pins of one key the last given stays behind, and is moved to the one kept.
        self.sorted.sort_by(|a, b| (a.hash, &a.key).cmp(&(b.hash, &b.key)));
        self.sorted.dedup_by(|later, kept| {
            let same = later.key == kept.key;
            if same {
                kept.shard = later.shard;
            }
            same
        });
        if self.sorted.len() > MOST {
            return Err(config(format!("more than {MOST} keys are pinned")));
        }
        Ok(())
    }

    pub(super) fn find(&self, slot: Slot, hash: u64, key: &[u8]) -> Option<ShardId> {
        let slot = usize::from(slot.get());
        if self.guard[slot / 64] >> (slot % 64) & 1 == 0 {
            return None;
        }
        let at = self.sorted.binary_search_by(|pin| (pin.hash, &*pin.key).cmp(&(hash, key))).ok()?;
        Some(self.sorted[at].shard)
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Pin> {
        self.sorted.iter()
    }
}
