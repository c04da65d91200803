//! A hash table of slot numbers: fixed in size, open addressed, and without tombstones to tidy up.

/// Finds the slot of a hash; the keys themselves are in the slots.
#[derive(Debug)]
pub(in super::super) struct Index {
    /// `(hash, slot + 1)`, 0 being free; at most half are taken.
    cells: Box<[(u32, u32)]>,
}

impl Index {
    pub(in super::super) fn new(slots: usize) -> Self {
        let cells = (slots * 2).next_power_of_two().max(2);
        Self { cells: vec![(0, 0); cells].into_boxed_slice() }
    }

    /// The slot of this hash that is the right one.
    #[inline]
    pub(in super::super) fn find(&self, hash: u32, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let (other, slot) = self.cells[at];
            let slot = slot.checked_sub(1)? as usize;
            if other == hash && is_it(slot) {
                return Some(slot);
            }
            at = self.next(at);
        }
    }

    pub(in super::super) fn insert(&mut self, hash: u32, slot: usize) {
        let mut at = self.home(hash);
        while self.cells[at].1 != 0 {
            at = self.next(at);
        }
        self.cells[at] = (hash, slot as u32 + 1);
    }

    /// Removes a slot that was inserted, and moves up those that had to go past it.
    pub(in super::super) fn remove(&mut self, hash: u32, slot: usize) {
        let mut hole = self.home(hash);
        while self.cells[hole].1 != slot as u32 + 1 {
            hole = self.next(hole);
        }
        let mut at = hole;
        loop {
            at = self.next(at);
            let (other, slot) = self.cells[at];
            if slot == 0 {
                break;
            }
            // It may move if its home is not between the hole and itself.
            let mask = self.cells.len() - 1;
            if at.wrapping_sub(self.home(other)) & mask >= at.wrapping_sub(hole) & mask {
                self.cells[hole] = (other, slot);
                hole = at;
            }
        }
        self.cells[hole] = (0, 0);
    }

    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.cells.len() - 1)
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((0..8_usize, 0..6_u32, any::<bool>()), 1..200)) {
            // Few hashes, so that most keys share a home or push each other on.
            let mut index = Index::new(8);
            let mut truth = std::collections::BTreeMap::new();
            for (slot, hash, insert) in steps {
                match truth.get(&slot) {
                    None if insert => {
                        index.insert(hash, slot);
                        truth.insert(slot, hash);
                    }
                    Some(hash) if !insert => {
                        index.remove(*hash, slot);
                        truth.remove(&slot);
                    }
                    _ => {}
                }
                for slot in 0..8 {
                    let found = (0..6).find(|hash| index.find(*hash, |other| other == slot).is_some());
                    prop_assert_eq!(found, truth.get(&slot).copied());
                }
            }
        }
    }
}
