//! What a real Prometheus makes of the shop's metrics.

use std::time::Duration;

use scalekit_testkit::{Prometheus, PrometheusSample, wait_until};

use crate::shop::Shop;

const SOON: Duration = Duration::from_secs(20);

/// A server that scrapes the shop often enough for rates to be known soon.
async fn scraping(shop: &Shop) -> Prometheus {
    let target = shop.url.trim_start_matches("http://").to_owned();
    Prometheus::builder().scrape("shop", target).interval(Duration::from_millis(100)).start().await
}

fn only(samples: &[PrometheusSample]) -> Option<f64> {
    match samples {
        [(_, value)] => Some(*value),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_to_say_about_either_naming() {
    for naming in ["semconv", "classic"] {
        let shop = Shop::open(&[&format!("--naming={naming}"), "--pods=2"]).await;
        let ada = shop.customer("acme", "ada").await;
        ada.add("tea", 1).await;
        let order = ada.checkout("k1", "tok_visa").await.order_id();
        assert_eq!(ada.settled(&order).await, "paid");
        assert_eq!(Prometheus::check_metrics(&ada.get("/metrics").await.text), Ok(()), "{naming}");
        for line in [
            "scalekit_hop_duration_seconds_count{pod=\"1\",hop=\"db\",operation=\"acquire\",outcome=\"ok\"}",
            "scalekit_hop_duration_seconds_count{pod=\"2\",hop=\"cache\",operation=\"session_load\",outcome=\"ok\"}",
            "checkout_session_loads_total{pod=\"1\"}",
            "scalekit_lag_stale{pod=\"1\",queue=\"outbox\",of=\"a\"} 0",
        ] {
            // The relay of a pod tells what waits in a turn of its own.
            wait_until(line, SOON, async || ada.get("/metrics").await.text.contains(line)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_dashboards_and_autoscalers_run_as_they_stand() {
    let shop = Shop::open(&["--naming=classic"]).await;
    let prometheus = scraping(&shop).await;
    prometheus.until("in_flight_requests{route=\"/checkout\"}", |found| only(found) == Some(0.0)).await;
    let ada = shop.customer("acme", "ada").await;
    for round in 0..5 {
        ada.add("tea", 1).await;
        let order = ada.checkout(&format!("k{round}"), "tok_visa").await.order_id();
        assert_eq!(ada.settled(&order).await, "paid");
    }
    let p95 = |found: &[PrometheusSample]| only(found).is_some_and(|seconds| seconds > 0.0 && seconds < 10.0);
    prometheus
        .until(
            "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket{route=\"/checkout\"}[2m])))",
            p95,
        )
        .await;
    let by_route = prometheus
        .until(
            "histogram_quantile(0.95, sum by (le, route) (rate(http_request_duration_seconds_bucket[5m])))",
            |found| found.iter().any(|(labels, value)| labels["route"] == "/cart/items" && value.is_finite()),
        )
        .await;
    assert!(by_route.iter().all(|(labels, _)| labels["route"].starts_with(['/', '<'])), "{by_route:?}");
    prometheus.until("avg(in_flight_requests)", |found| only(found).is_some_and(f64::is_finite)).await;
    prometheus.until("http_requests_per_second", |found| only(found).is_some_and(|rate| rate > 0.0)).await;
    prometheus.until("scalekit_slo_good_total{slo=\"paid\"}", |found| only(found) == Some(5.0)).await;
    assert!(prometheus.scrape_errors().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_error_ever_is_an_increase() {
    let shop = Shop::open(&[]).await;
    let prometheus = scraping(&shop).await;
    let series = "scalekit_http_outcomes_total{http_route=\"/checkout\",outcome=\"client_error\"}";
    prometheus.until(&format!("count_over_time({series}[1m])"), |found| only(found) >= Some(5.0)).await;
    let anybody = shop.visitor();
    let refused = anybody.send(anybody.checkout_request("k1", "tok_visa")).await;
    assert_eq!(refused.status, 401);
    prometheus.until(series, |found| only(found) == Some(1.0)).await;
    prometheus.until(&format!("increase({series}[1m])"), |found| only(found) >= Some(1.0)).await;
}
