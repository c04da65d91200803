//! Space-Saving against exact counts.

use std::collections::HashMap;

use proptest::prelude::*;
use scalekit_core::slo::{TopK, TopKey};
use scalekit_testkit::{Rng, seed};

use crate::zipf::Zipf;

proptest! {
    #[test]
    fn counts_are_never_too_low_nor_further_off_than_their_error(
        capacity in 1_usize..40,
        events in prop::collection::vec((0_u32..80, 0_u64..50), 1..600),
    ) {
        let mut top = TopK::new(capacity);
        let mut truth: HashMap<u32, u64> = HashMap::new();
        for (key, n) in &events {
            // Squared, so that small keys are frequent.
            let key = key * key / 80;
            top.add(&key, *n);
            *truth.entry(key).or_default() += n;
        }
        let total: u64 = truth.values().sum();
        prop_assert_eq!(top.total(), total);
        let entries = top.top(usize::MAX);
        prop_assert_eq!(entries.len(), truth.len().min(capacity));
        prop_assert_eq!(entries.iter().map(|entry| entry.count).sum::<u64>(), total, "nothing is lost");
        prop_assert!(entries.is_sorted_by_key(|entry| std::cmp::Reverse(entry.count)));
        for entry in &entries {
            let exact = truth[&entry.key];
            prop_assert!(entry.count - entry.error <= exact && exact <= entry.count, "{entry:?} is {exact}");
            prop_assert!(entry.error <= total / capacity as u64);
        }
        for (key, exact) in truth {
            if exact > total / capacity as u64 {
                prop_assert!(entries.iter().any(|entry| entry.key == key), "{key} with {exact} of {total}");
            }
        }
    }
}

#[test]
fn the_twenty_heaviest_of_a_hundred_thousand_are_found() {
    let (zipf, mut random) = (Zipf::new(100_000, 1.1), Rng::new(seed()));
    let (mut top, mut truth) = (TopK::default(), vec![0_u64; 100_000]);
    for _ in 0..2_000_000 {
        let rank = zipf.rank(&mut random);
        truth[rank] += 1;
        top.add(&rank, 1);
    }
    let twentieth = {
        let mut counts = truth.clone();
        counts.sort_unstable();
        counts[counts.len() - 20]
    };
    let found: Vec<usize> = top.top(20).into_iter().map(|entry| entry.key).collect();
    let recalled = found.iter().filter(|key| truth[**key] >= twentieth).count();
    assert_eq!(recalled, 20, "{found:?}");
}

#[test]
fn a_million_keys_leave_memory_as_it_was() {
    let (mut top, mut random) = (TopK::new(256), Rng::new(seed()));
    let before = top.bytes();
    for _ in 0..1_000_000 {
        top.add(&TopKey::new(&format!("{:x}", random.next_u64())), 1);
    }
    assert_eq!((top.bytes(), top.len(), top.capacity(), top.total()), (before, 256, 256, 1_000_000));
    assert!(before < 40_000, "{before}");
}

#[test]
fn the_past_fades_by_halves() {
    let mut top = TopK::new(2);
    top.add(&"old", 100);
    (0..5).for_each(|_| top.halve());
    top.add(&"new", 10);
    assert_eq!(top.top(1)[0].key, "new");
    assert_eq!(top.top(2)[1].count, 3);
}

#[test]
fn a_key_is_bounded_and_long_ones_stay_apart() {
    let (a, b) = ("a".repeat(65), "a".repeat(66));
    assert_eq!(TopKey::new(&"a".repeat(64)).as_str(), "a".repeat(64));
    assert_ne!(TopKey::new(&a), TopKey::new(&b));
    assert_eq!(TopKey::new(&a), TopKey::new(&a));
    // No text can pass for the hash of another.
    assert_ne!(TopKey::new(TopKey::new(&a).as_str()), TopKey::new(&a));
    let cut_inside_a_letter = "é".repeat(33);
    assert_eq!(TopKey::new(&cut_inside_a_letter).as_str().len(), 39);
    assert_eq!(TopKey::new("").as_str(), "");
    assert_eq!(size_of::<TopKey>(), 65);
}
