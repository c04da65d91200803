//! What records were loaded as, so that a save sends what has changed since.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::BuildHasher,
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fields::Fields;

/// Most bytes that are remembered; beyond, the oldest are forgotten.
const MAX_BYTES: usize = 16 << 20;
/// What an entry takes besides its names and digests.
const ENTRY: usize = 256;
/// What a field takes besides its name.
const FIELD: usize = 64;

/// Which load a map of data comes from.
///
/// `save` is given no more than the record. But each map has a hasher with random keys of its own, which it keeps when
/// it is moved, changed, cleared or cloned: what that makes of two constants tells the map from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Origin([u64; 2]);

impl Origin {
    pub(super) fn of(data: &HashMap<String, Value>) -> Self {
        Self([0_u64, 1].map(|constant| data.hasher().hash_one(constant)))
    }
}

/// A session as this process last saw it in the store: digests of its fields.
#[derive(Clone)]
pub(super) struct Base {
    /// The last part of its key.
    member: String,
    fields: BTreeMap<String, [u8; 16]>,
}

impl Base {
    pub(super) fn new(member: &str, fields: &Fields) -> Self {
        let fields = fields.iter().map(|(name, text)| (name.clone(), digest(text))).collect();
        Self { member: member.to_owned(), fields }
    }

    /// Whether the field holds this.
    pub(super) fn holds(&self, name: &str, text: &str) -> bool {
        self.fields.get(name).is_some_and(|held| *held == digest(text))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.fields.keys()
    }

    fn bytes(&self) -> usize {
        self.fields.keys().fold(ENTRY, |bytes, name| bytes + FIELD + name.len())
    }
}

/// The bases of the records that are under way.
#[derive(Default)]
pub(super) struct Bases {
    entries: HashMap<Origin, (u64, Base)>,
    /// In the order they were remembered; those that were replaced since are skipped.
    order: VecDeque<(u64, Origin)>,
    bytes: usize,
    next: u64,
}

impl Bases {
    /// What the record of this origin and key was loaded or last saved as.
    pub(super) fn get(&self, origin: Origin, member: &str) -> Option<Base> {
        self.entries.get(&origin).map(|(_, base)| base).filter(|base| base.member == member).cloned()
    }

    pub(super) fn remember(&mut self, origin: Origin, base: Base) {
        self.forget(origin);
        self.bytes += base.bytes();
        self.order.push_back((self.next, origin));
        self.entries.insert(origin, (self.next, base));
        self.next += 1;
        while self.bytes > MAX_BYTES {
            let Some((number, origin)) = self.order.pop_front() else { break };
            if self.entries.get(&origin).is_some_and(|(current, _)| *current == number) {
                self.forget(origin);
            }
        }
        if self.order.len() > 2 * self.entries.len() + 16 {
            let entries = &self.entries;
            self.order
                .retain(|(number, origin)| entries.get(origin).is_some_and(|(current, _)| current == number));
        }
    }

    pub(super) fn forget(&mut self, origin: Origin) {
        if let Some((_, base)) = self.entries.remove(&origin) {
            self.bytes -= base.bytes();
        }
    }
}

fn digest(text: &str) -> [u8; 16] {
    let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = <[u8; 32]>::from(Sha256::digest(text));
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(member: &str, name: &str, text: &str) -> Base {
        Base::new(member, &[(name.to_owned(), text.to_owned())].into())
    }

    #[test]
    fn an_origin_survives_all_that_happens_to_a_map_and_no_other_has_it() {
        let mut data: HashMap<String, Value> = [("a".to_owned(), 1.into())].into();
        let origin = Origin::of(&data);
        data.insert("b".to_owned(), Value::Null);
        data.clear();
        assert!(Origin::of(&data.clone()) == origin);
        let moved =
            std::thread::spawn(move || Origin::of(&Some(data).into_iter().next().unwrap_or_default()));
        assert!(moved.join().is_ok_and(|moved| moved == origin));
        let others: Vec<_> = (0..4)
            .flat_map(|_| {
                std::thread::spawn(|| (0..1_000).map(|_| Origin::of(&HashMap::new())).collect::<Vec<_>>())
                    .join()
                    .unwrap_or_default()
            })
            .chain([origin])
            .collect();
        let distinct: std::collections::HashSet<_> = others.iter().collect();
        assert_eq!((others.len(), distinct.len()), (4_001, 4_001));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let mut bases = Bases::default();
        let maps: Vec<HashMap<String, Value>> = (0..20).map(|_| HashMap::new()).collect();
        let long = "n".repeat(1 << 20);
        for (map, at) in maps.iter().zip(0..) {
            bases.remember(Origin::of(map), base(&format!("m{at}"), &long, "1"));
            // Remembering again makes it no older and takes no more room.
            bases.remember(Origin::of(map), base(&format!("m{at}"), &long, "2"));
            assert!(bases.bytes <= MAX_BYTES, "{}", bases.bytes);
        }
        let known: Vec<bool> = maps
            .iter()
            .zip(0..)
            .map(|(map, at)| bases.get(Origin::of(map), &format!("m{at}")).is_some())
            .collect();
        assert_eq!(known, [vec![false; 5], vec![true; 15]].concat());
        let last = Origin::of(&maps[19]);
        assert!(bases.get(last, "another").is_none());
        assert!(bases.get(last, "m19").is_some_and(|base| base.holds(&long, "2") && !base.holds(&long, "1")));
        for _ in 0..10_000 {
            bases.remember(last, base("m19", "n", "1"));
        }
        assert!(bases.order.len() < 100, "{}", bases.order.len());
        for map in &maps {
            bases.forget(Origin::of(map));
        }
        assert_eq!(bases.bytes, 0);
    }
}
