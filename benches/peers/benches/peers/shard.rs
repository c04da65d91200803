//! The CPU that it takes to place a key on a shard, beside a hash ring and a jump hash.

use std::sync::Arc;

use hashring::HashRing;
use jumphash::JumpHasher;
use scalekit_bench::{
    duel::block_on,
    shard::{self, SHARDS},
};

/// Points of each shard on the ring; more of them spread better and cost more.
const POINTS: u32 = 100;

#[derive(Clone, Debug, Hash, PartialEq)]
struct Point {
    shard: u32,
    point: u32,
}

pub(crate) fn run() {
    let mut ring = HashRing::new();
    ring.batch_add((0..SHARDS * POINTS).map(|n| Point { shard: n % SHARDS, point: n / SHARDS }).collect());
    let jump = JumpHasher::new();

    let mut ways = shard::ways();
    ways.push(("hashring 0.3, 100 points a shard", Arc::new(move |key| ring.get(&key).unwrap().shard)));
    ways.push(("jumphash 0.1", Arc::new(move |key| jump.slot(&key, SHARDS))));
    block_on(shard::run(ways));
}
