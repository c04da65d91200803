//! Who serves which slot: what the nodes' pictures say, and what redirects have taught since.

use std::collections::{HashMap, HashSet};

use super::{address::Address, picture::Picture};

const SLOTS: usize = 16_384;
const NOBODY: u16 = u16::MAX;

/// The slot map.
///
/// A picture is one node's opinion, and a node may be behind: it was halted, or has not heard yet that a slot moved. A
/// redirect comes from the very node that gave the slot away. So what a redirect taught stands until a picture agrees, or
/// is of a newer epoch, or is by the taught node itself, or that node is away; and a picture that is older than the
/// newest one is taken only if no other is to be had.
#[derive(Debug)]
pub(super) struct Map {
    owners: Vec<u16>,
    places: Vec<Address>,
    /// Slots that a redirect taught, and the epoch of the picture that it corrected.
    taught: HashMap<u16, Option<u64>>,
    epoch: Option<u64>,
    replicas: Vec<Address>,
}

impl Map {
    pub(super) fn empty() -> Self {
        Self {
            owners: vec![NOBODY; SLOTS],
            places: Vec::new(),
            taught: HashMap::new(),
            epoch: None,
            replicas: Vec::new(),
        }
    }

    /// Whether nothing was ever learnt.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        self.places.get(usize::from(*self.owners.get(usize::from(slot))?))
    }

    /// The nodes that serve slots.
    pub(super) fn masters(&self) -> &[Address] {
        &self.places
    }

    pub(super) fn replicas(&self) -> &[Address] {
        &self.replicas
    }

    /// A redirect said so.
    pub(super) fn teach(&mut self, slot: u16, owner: &Address) {
        if usize::from(slot) < SLOTS && self.owner(slot) != Some(owner) {
            self.set(slot, owner);
            self.taught.insert(slot, self.epoch);
        }
    }

    /// The node that a redirect named does not serve the slot after all: the next picture is right.
    pub(super) fn doubt(&mut self, slot: u16, owner: &Address) {
        if self.owner(slot) == Some(owner) {
            self.taught.remove(&slot);
        }
    }

    /// Whether the picture is older than what is known.
    pub(super) fn is_ahead_of(&self, picture: &Picture) -> bool {
        matches!((self.epoch, picture.epoch), (Some(known), Some(said)) if said < known)
    }

    /// Takes the picture over, whatever its age; `away`: whether a node is known not to answer.
    pub(super) fn adopt(&mut self, picture: &Picture, away: impl Fn(&Address) -> bool) {
        let mut next = Self { epoch: picture.epoch.or(self.epoch), ..Self::empty() };
        for (range, owner) in &picture.ranges {
            range.clone().for_each(|slot| next.set(slot, owner));
        }
        for (slot, taught_at) in &self.taught {
            let Some(owner) = self.owner(*slot) else { continue };
            let agrees = next.owner(*slot) == Some(owner);
            let newer = matches!((picture.epoch, taught_at), (Some(said), Some(then)) if said > *then);
            if !agrees && !newer && picture.said_by != *owner && !away(owner) {
                next.set(*slot, owner);
                next.taught.insert(*slot, *taught_at);
            }
        }
        next.replicas.clone_from(&picture.replicas);
        next.prune();
        *self = next;
    }

    fn set(&mut self, slot: u16, owner: &Address) {
        let known = self.places.iter().position(|place| place == owner);
        let place = known.unwrap_or_else(|| {
            self.places.push(owner.clone());
            self.places.len() - 1
        });
        // A Cluster has at most 16,384 masters, and what is left over after redirects is pruned.
        if let (Some(held), Ok(place)) = (self.owners.get_mut(usize::from(slot)), u16::try_from(place)) {
            *held = place;
        }
    }

    /// Forgets places without slots, such as one that a kept redirect has emptied.
    fn prune(&mut self) {
        let used: HashSet<u16> = self.owners.iter().copied().collect();
        if used.iter().filter(|place| **place != NOBODY).count() == self.places.len() {
            return;
        }
        let mut moved = HashMap::from([(NOBODY, NOBODY)]);
        let mut kept = Vec::new();
        for (place, address) in (0_u16..).zip(&self.places).filter(|(place, _)| used.contains(place)) {
            moved.insert(place, u16::try_from(kept.len()).unwrap_or(NOBODY));
            kept.push(address.clone());
        }
        self.owners.iter_mut().for_each(|owner| *owner = moved.get(owner).copied().unwrap_or(NOBODY));
        self.places = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        Address::new("h", port)
    }

    fn picture(said_by: u16, epoch: u64, ranges: &[(u16, u16, u16)]) -> Picture {
        let ranges = ranges.iter().map(|(first, last, owner)| (*first..=*last, at(*owner))).collect();
        Picture { said_by: at(said_by), epoch: Some(epoch), ranges, replicas: Vec::new() }
    }

    fn up(_: &Address) -> bool {
        false
    }

    fn started() -> Map {
        let mut map = Map::empty();
        map.adopt(&picture(1, 5, &[(0, 8_000, 1), (8_001, 16_383, 2)]), up);
        map
    }

    #[test]
    fn a_stale_node_does_not_overwrite_what_a_redirect_taught() {
        let mut map = started();
        map.teach(7, &at(3));
        assert_eq!(map.owner(7), Some(&at(3)));
        // The third node has not heard yet, though it knows of the same epoch.
        map.adopt(&picture(2, 5, &[(0, 8_000, 1), (8_001, 16_383, 2)]), up);
        assert_eq!((map.owner(7), map.owner(8)), (Some(&at(3)), Some(&at(1))));
        assert!(map.is_ahead_of(&picture(2, 4, &[(0, 16_383, 2)])));
        // One that agrees settles it; after that, pictures decide again.
        map.adopt(&picture(3, 5, &[(0, 6, 1), (7, 7, 3), (8, 16_383, 2)]), up);
        map.adopt(&picture(2, 5, &[(0, 16_383, 2)]), up);
        assert_eq!((map.owner(7), map.masters().len()), (Some(&at(2)), 1));
    }

    #[test]
    fn what_was_taught_yields_to_a_newer_epoch_to_the_node_itself_and_where_it_is_away() {
        let stale = [(0, 8_000, 1), (8_001, 16_383, 2)];
        let taught = || {
            let mut map = started();
            map.teach(7, &at(3));
            map
        };
        let mut newer = taught();
        newer.adopt(&picture(2, 6, &stale), up);
        let mut itself = taught();
        itself.adopt(&picture(3, 5, &stale), up);
        let mut away = taught();
        away.adopt(&picture(2, 5, &stale), |node| *node == at(3));
        let mut doubted = taught();
        doubted.doubt(7, &at(3));
        doubted.adopt(&picture(2, 5, &stale), up);
        for map in [newer, itself, away, doubted] {
            assert_eq!(map.owner(7), Some(&at(1)), "{map:?}");
        }
    }

    #[test]
    fn slots_that_nobody_serves_and_places_without_slots_are_none() {
        let mut map = started();
        assert!(map.owner(0).is_some() && map.owner(u16::MAX).is_none());
        map.adopt(&picture(1, 6, &[(0, 10, 1)]), up);
        assert_eq!((map.owner(11), map.masters()), (None, &[at(1)][..]));
        for slot in 0..=10 {
            map.teach(slot, &at(4));
        }
        map.adopt(&picture(9, 6, &[(0, 10, 1)]), up);
        assert_eq!(map.masters(), [at(4)], "the emptied place is forgotten");
        assert_eq!(map.owner(10), Some(&at(4)));
    }
}
