//! The CPU that the SLO layer adds to a request.

use scalekit_bench::{duel::block_on, slo};

fn main() {
    block_on(async { slo::DUEL.run(slo::cases()).await });
}
