//! What it costs to find the shard of a key, and how evenly keys fall.

use std::{
    hash::{BuildHasher, RandomState},
    hint::black_box,
    sync::Arc,
};

use scalekit::shard::{ShardMap, Slot};

use crate::duel::{Case, Duel, Meter, table};

/// How many shards there are.
pub const SHARDS: u32 = 8;

/// The comparison that the peers join.
pub const DUEL: Duel = Duel {
    title: "Placing a key on one of 8 shards: CPU per key",
    unit: "key",
    meter: Meter::Cpu,
    rounds: 60,
    per_round: 100_000,
};

/// A way to place a key.
pub type Place = Arc<dyn Fn(&str) -> u32>;

/// Hash modulo, and ours.
pub fn ways() -> Vec<(&'static str, Place)> {
    let names = || (0..SHARDS).map(|shard| format!("s{shard}"));
    let map = ShardMap::even(names()).unwrap();
    let mut pinned = ShardMap::even(names()).unwrap();
    for tenant in 0..100 {
        pinned = pinned.with_pin(format!("pinned-{tenant}").as_str(), "s1").unwrap();
    }
    let hasher = RandomState::new();
    let placed = |map: ShardMap| -> Place {
        Arc::new(move |key| u32::try_from(map.place(key).shard.index()).unwrap())
    };
    vec![
        (
            "SipHash modulo 8 (moves nearly all keys when a shard is added)",
            Arc::new(move |key: &str| u32::try_from(hasher.hash_one(key) % u64::from(SHARDS)).unwrap()),
        ),
        ("scalekit: hash and slot alone", Arc::new(|key: &str| u32::from(Slot::of(key).get()) / 2_048)),
        ("scalekit: `ShardMap::place`", placed(map)),
        ("scalekit: `ShardMap::place`, 100 tenants pinned", placed(pinned)),
    ]
}

/// Runs the comparison, then counts where 100,000 keys fall.
pub async fn run(ways: Vec<(&'static str, Place)>) {
    let keys: Arc<Vec<String>> = Arc::new((0..1_000).map(|n| format!("tenant-{n}")).collect());
    let case = |(name, place): &(&'static str, Place)| {
        let (place, keys) = (Arc::clone(place), Arc::clone(&keys));
        Case::new(*name, move |n| {
            let (place, keys) = (Arc::clone(&place), Arc::clone(&keys));
            async move {
                for key in keys.iter().cycle().take(n as usize) {
                    black_box(place(black_box(key)));
                }
            }
        })
    };
    DUEL.run(ways.iter().map(case).collect()).await;

    let rows: Vec<_> = ways.iter().map(|(name, place)| vec![(*name).to_owned(), spread(place)]).collect();
    table("How evenly 100,000 keys fall on 8 shards", &["", "fullest shard to the mean"], &rows);
}

fn spread(place: &Place) -> String {
    let mut counts = [0_u32; SHARDS as usize];
    for n in 0..100_000 {
        counts[place(&format!("tenant-{n}")) as usize] += 1;
    }
    let mean = 100_000.0 / f64::from(SHARDS);
    format!("{:.3}", f64::from(*counts.iter().max().unwrap()) / mean)
}
