//! Every comparison of scalekit with the bare work that it stands around, without a peer.
//!
//! One program, so that everything is linked once. `cargo bench -p scalekit-bench -- outbox` runs that part alone.

use scalekit_bench::{
    duel::{block_on, run_chosen},
    idempotency, outbox, session, shard, slo,
};

fn main() {
    if session::served(&[session::Scalekit]) {
        return;
    }
    run_chosen(&[
        ("slo", || block_on(slo::DUEL.run(slo::cases()))),
        ("session", || block_on(session::run(&[session::Scalekit]))),
        ("shard", || block_on(shard::run(shard::ways()))),
        ("idempotency", idempotency::run),
        ("outbox", outbox::run),
    ]);
}
