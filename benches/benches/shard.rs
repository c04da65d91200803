//! The CPU that it takes to place a key on a shard.

use scalekit_bench::{duel::block_on, shard};

fn main() {
    block_on(async { shard::run(shard::ways()).await });
}
