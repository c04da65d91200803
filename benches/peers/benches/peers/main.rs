//! What has a peer, beside it in the same process and the same rounds.
//!
//! One program, so that everything is linked once. `cargo bench -- session` runs that part alone.

mod session;
mod shard;
mod slo;
mod storm;

use scalekit_bench::duel::run_chosen;

fn main() {
    if session::served() {
        return;
    }
    run_chosen(&[("slo", slo::run), ("session", session::run), ("shard", shard::run), ("storm", storm::run)]);
}
