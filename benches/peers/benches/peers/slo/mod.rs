//! The CPU that the SLO layer adds to a request, beside axum-prometheus.

use axum_prometheus::PrometheusMetricLayer;
use scalekit_bench::{duel::block_on, slo};

pub(crate) fn run() {
    block_on(async {
        let (peer, _scrape) = PrometheusMetricLayer::pair();
        let mut cases = slo::cases();
        cases.push(slo::case("axum-prometheus 0.10", slo::bare().layer(peer)));
        slo::DUEL.run(cases).await;
    });
}
