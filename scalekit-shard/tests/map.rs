//! What maps refuse, and what holds for every map that is accepted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use scalekit_core::{
    ErrorKind,
    skh1::{SLOTS, Slot},
};
use scalekit_shard::ShardMap;

fn refusal(map: scalekit_core::Result<ShardMap>) -> String {
    let error = map.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

fn named(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s{number}")).collect()
}

#[test]
fn a_bad_map_is_refused_with_its_fault() {
    let none: [&str; 0] = [];
    assert_eq!(refusal(ShardMap::even(none)), "a shard map needs at least one shard");
    assert_eq!(refusal(ShardMap::even(["a", "b", "a"])), "two shards are named \"a\"");
    for bad in ["", "a b", "a.b", "{a}", "é", &"x".repeat(64)] {
        let refused = refusal(ShardMap::even([bad]));
        assert!(refused.contains("cannot name a shard"), "{refused}");
    }
    assert_eq!(refusal(ShardMap::even(named(16_385))), "16385 shards are more than there are slots, 16384");

    let fault = |ranges: &[(&str, std::ops::RangeInclusive<u16>)]| {
        refusal(ShardMap::ranges(ranges.iter().map(|(name, range)| (*name, range.clone()))))
    };
    assert_eq!(fault(&[("a", 1..=16_383)]), "slot 0 has no shard");
    assert_eq!(fault(&[("a", 0..=16_000)]), "slots 16001 to 16383 have no shard");
    assert_eq!(fault(&[("a", 0..=9), ("b", 9..=16_383)]), "slot 9 is given to \"a\" and to \"b\"");
    assert_eq!(
        fault(&[("a", 0..=16_384)]),
        "a range of shard \"a\" ends at 16384, but the last slot is 16383"
    );
    #[expect(clippy::reversed_empty_ranges, reason = "that it is refused is the point")]
    let empty = 9..=3;
    assert_eq!(fault(&[("a", empty)]), "the range 9 to 3 of shard \"a\" is empty");

    let pinned = ShardMap::even(["a", "b"]).unwrap().with_pin("acme", "c");
    assert_eq!(refusal(pinned), "there is no shard \"c\"; there are a, b");
    let long = ShardMap::even(["a"]).unwrap().with_pin(&"k".repeat(1_024), "a");
    assert_eq!(refusal(long), "a pinned key has 1025 bytes; at most 1024 can be");
    let twice = ShardMap::even(["a"]).unwrap().with_shard("a");
    assert_eq!(refusal(twice), "two shards are named \"a\"");
}

#[test]
fn a_bad_file_is_refused_with_its_fault() {
    let map = ShardMap::even(["a", "b"]).unwrap().with_pin("acme", "b").unwrap();
    let json = serde_json::to_string(&map).unwrap();
    let read = |from: &str, to: &str| {
        assert!(json.contains(from), "{json}");
        refusal(ShardMap::from_json(&json.replacen(from, to, 1)))
    };
    assert_eq!(read("\"skh1\"", "\"md5\""), "the shard map places keys by \"md5\", this program by \"skh1\"");
    for (from, to) in
        [("\"epoch\":1", "\"epoch\":2"), ("\"to\":8191", "\"to\":8190"), ("61636d65", "61636d66")]
    {
        let refused = read(from, to);
        assert!(refused.starts_with("the shard map was changed after it was written"), "{refused}");
    }
    let refused = read("\"epoch\":1", "\"epoch\":1,\"extra\":1");
    assert!(refused.contains("unknown field `extra`"), "{refused}");
    let refused = refusal(ShardMap::from_json("{"));
    assert!(refused.starts_with("the shard map is not JSON of the expected form"), "{refused}");
    // White space and the order of fields are no change.
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(ShardMap::from_json(&serde_json::to_string_pretty(&value).unwrap()).unwrap(), map);
}

#[test]
fn debug_shows_no_pinned_key() {
    let map = ShardMap::even(["a"]).unwrap().with_pin("secret-tenant", "a").unwrap();
    let shown = format!("{map:?}");
    assert!(shown.contains("pins: 1") && !shown.contains("secret"), "{shown}");
}

#[test]
fn the_last_pin_of_a_key_counts() {
    let map = ShardMap::even(["a", "b", "c"]).unwrap();
    let map =
        map.with_pin("acme", "a").unwrap().with_pin("acme", "c").unwrap().with_pin("acme", "b").unwrap();
    assert_eq!((map.name(map.place("acme").shard), map.pins()), ("b", 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_even_split_differs_by_at_most_one_slot(count in 1_usize..300) {
        let map = ShardMap::even(named(count)).unwrap();
        let sizes: Vec<u16> = named(count).iter().map(|name| map.slots_of(name)).collect();
        prop_assert_eq!(sizes.iter().map(|size| u32::from(*size)).sum::<u32>(), u32::from(SLOTS));
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
    }

    #[test]
    fn ranges_give_each_slot_the_shard_they_name(cuts in prop::collection::btree_set(1_u16..SLOTS, 0..40), shards in 1_usize..9) {
        let mut edges: Vec<u16> = cuts.into_iter().collect();
        edges.push(SLOTS);
        let mut from = 0;
        let mut ranges = Vec::new();
        for (at, to) in edges.iter().enumerate() {
            ranges.push((format!("s{}", at % shards), from..=to - 1));
            from = *to;
        }
        let map = ShardMap::ranges(ranges.clone()).unwrap();
        for (name, range) in &ranges {
            for slot in range.clone() {
                prop_assert_eq!(map.name(map.shard_of(Slot::new(slot).unwrap())), name);
            }
        }
        let total: u32 = map.names().map(|name| u32::from(map.slots_of(name))).sum();
        prop_assert_eq!(total, u32::from(SLOTS));
    }

    #[test]
    fn a_map_survives_its_json(
        count in 1_usize..20,
        epoch in 1..u64::MAX,
        pins in prop::collection::btree_map("\\PC{0,12}", 0_usize..20, 0..50),
        keys in prop::collection::vec("\\PC{0,12}", 50),
    ) {
        let names = named(count);
        let mut map = ShardMap::even(names.clone()).unwrap().with_epoch(epoch);
        for (key, shard) in &pins {
            map = map.with_pin(key, &names[shard % count]).unwrap();
        }
        let again = ShardMap::from_json(&serde_json::to_string(&map).unwrap()).unwrap();
        prop_assert_eq!(&again, &map);
        for key in keys.iter().chain(pins.keys()) {
            prop_assert_eq!(again.place(key), map.place(key));
        }
    }

    #[test]
    fn a_pin_moves_its_key_and_no_other(
        pins in prop::collection::btree_map("[a-z]{1,6}", 0_usize..8, 0..200),
        keys in prop::collection::vec("[a-z]{1,6}", 200),
    ) {
        let plain = ShardMap::even(named(8)).unwrap();
        let mut map = plain.clone();
        for (key, shard) in &pins {
            map = map.with_pin(key, &format!("s{shard}")).unwrap();
        }
        for key in keys.iter().chain(pins.keys()) {
            let placed = map.place(key);
            prop_assert_eq!(placed.slot, Slot::of(key));
            prop_assert_eq!(placed.pinned, pins.contains_key(key));
            let expected = pins.get(key).copied().unwrap_or_else(|| plain.place(key).shard.index());
            prop_assert_eq!(placed.shard.index(), expected);
        }
    }
}
