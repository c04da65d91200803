//! What it costs to measure a request, and what is lost, beside the layers and recorders that others use.

mod loss;
mod record;
mod scrape;

use scalekit_bench::{duel::block_on, slo};
use scalekit_bench_peers::layers;

pub(crate) fn run() {
    block_on(async {
        let mut cases = slo::cases();
        for wire in &layers::ALL[1..] {
            let layered = wire(slo::bare());
            cases.push(slo::case(layered.name, layered.app));
        }
        slo::DUEL.run(cases).await;
        loss::run();
    });
    record::run();
    scrape::run();
}
