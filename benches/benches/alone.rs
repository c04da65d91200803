//! Every comparison of scalekit with the bare work that it stands around, without a peer.
//!
//! One program, so that everything is linked once. `cargo bench -p scalekit-bench -- outbox` runs that part alone.

use scalekit_bench::{
    duel::{block_on, run_chosen},
    idempotency, outbox, session, shard, slo,
};
use scalekit_testkit::{Proxy, Redis};

fn main() {
    run_chosen(&[
        ("slo", || block_on(slo::DUEL.run(slo::cases()))),
        ("session", || block_on(sessions())),
        ("shard", || block_on(shard::run(shard::ways()))),
        ("idempotency", idempotency::run),
        ("outbox", outbox::run),
    ]);
}

async fn sessions() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.addr()).await;
    session::count_round_trips(&proxy, &[session::scalekit(proxy.addr())]).await;
    session::measure(&redis, &[session::scalekit(redis.addr())]).await;
}
