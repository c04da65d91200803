//! The exposition: complete before the first request, one family however many apps, strictly parsed.

use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::routing::post;
use scalekit_core::slo::{Exposition, Naming, Objective, ObjectiveSet, Outcome, Slo, render_all};

use crate::parse::parse;
use crate::support::{checkout, layered, send};

#[test]
fn everything_declared_is_there_before_the_first_request() {
    let up =
        Objective::new("cart").route(Method::GET, "/cart").route(Method::PUT, "/cart").availability(0.999);
    let set = ObjectiveSet::builder("shop").objective(up).build().unwrap();
    let slo = Slo::new(set);
    let scrape = parse(&slo.render());
    for method in ["GET", "PUT"] {
        let route = [("http_request_method", method), ("http_route", "/cart")];
        assert_eq!(scrape.value("http_server_active_requests", &route), 0.0);
        assert_eq!(scrape.value("http_server_request_duration_seconds_count", &route), 0.0);
        for outcome in Outcome::ALL {
            let labels = [route[0], route[1], ("outcome", outcome.as_str())];
            assert_eq!(scrape.value("scalekit_http_outcomes_total", &labels), 0.0);
        }
    }
    for counter in ["scalekit_slo_good_total", "scalekit_slo_available_total", "scalekit_slo_requests_total"]
    {
        assert_eq!(scrape.value(counter, &[("slo", "cart")]), 0.0);
        assert_eq!(scrape.kinds[counter], "counter");
    }
    assert_eq!(scrape.value("scalekit_slo_availability_target_ratio", &[("slo", "cart")]), 0.999);
    assert_eq!(scrape.sum("scalekit_slo_threshold_seconds", &[]), 0.0, "it has no threshold");
    assert_eq!(scrape.kinds["http_server_request_duration_seconds"], "histogram");
    assert_eq!(scrape.kinds["http_server_active_requests"], "gauge");
}

#[tokio::test]
async fn several_apps_and_the_applications_own_gauges_are_one_exposition() {
    let set = checkout(Duration::from_millis(300));
    let hostile = "a\\b\"c\nd";
    let pods = ["0", hostile].map(|pod| Slo::builder(set.clone()).label("pod", pod).build().unwrap());
    for (pod, requests) in pods.iter().zip([1, 3]) {
        let app = layered(pod, Router::new().route("/checkout", post(|| async {})));
        for _ in 0..requests {
            send(&app, "POST", "/checkout").await;
        }
    }
    let own = Exposition::new().gauge("lag_seconds", "Lag.").sample(&[("pod", hostile)], 0.5).render();
    let scrape = parse(&(render_all(&pods).unwrap() + &own));
    for (pod, requests) in [("0", 1.0), (hostile, 3.0)] {
        let labels = [("pod", pod), ("slo", "checkout")];
        assert_eq!(scrape.value("scalekit_slo_good_total", &labels), requests);
        assert_eq!(scrape.value("scalekit_slo_threshold_seconds", &labels), 0.3);
        assert_eq!(scrape.value("scalekit_slo_target_ratio", &labels), 0.99);
        let bucket = [
            ("pod", pod),
            ("http_request_method", "POST"),
            ("http_route", "/checkout"),
            ("http_response_status_code", "200"),
            ("le", "1.2"),
        ];
        assert_eq!(scrape.value("http_server_request_duration_seconds_bucket", &bucket), requests);
    }
    assert_eq!(scrape.value("lag_seconds", &[("pod", hostile)]), 0.5);
}

#[tokio::test]
async fn an_objective_sums_over_its_routes() {
    let both =
        Objective::new("buy").route(Method::POST, "/checkout").route(Method::POST, "/pay").availability(0.9);
    let slo = Slo::new(ObjectiveSet::builder("shop").objective(both).build().unwrap());
    let routes = Router::new().route("/checkout", post(|| async {})).route("/pay", post(|| async {}));
    let app = layered(&slo, routes);
    for path in ["/checkout", "/pay", "/pay"] {
        send(&app, "POST", path).await;
    }
    assert_eq!(parse(&slo.render()).value("scalekit_slo_good_total", &[("slo", "buy")]), 3.0);
}

#[test]
fn rows_are_json() {
    let slo = Slo::new(checkout(Duration::from_millis(300)));
    let json = serde_json::to_value(slo.snapshot()).unwrap();
    assert_eq!(json[0]["method"], "POST");
    assert_eq!(json[0]["threshold"], 0.3);
    assert_eq!(json[0]["p95"], serde_json::Value::Null);
    assert_eq!(json[0]["outcomes"]["ok"], 0);
}

#[test]
fn what_would_write_a_series_twice_is_no_exposition() {
    let slo = |labels: [&str; 2], naming| {
        let set = checkout(Duration::from_millis(300));
        labels
            .into_iter()
            .fold(Slo::builder(set).naming(naming), |slo, name| slo.label(name, "1"))
            .build()
            .unwrap()
    };
    let one = slo(["pod", "cell"], Naming::Semconv);
    let refused = |other| render_all(&[one.clone(), other]).unwrap_err().to_string();
    assert!(refused(slo(["cell", "pod"], Naming::Semconv)).contains("two Slo values carry the labels"));
    assert!(refused(slo(["node", "cell"], Naming::Classic)).contains("different namings"));
    assert!(render_all(&[one.clone(), slo(["node", "cell"], Naming::Semconv)]).is_ok());
}
