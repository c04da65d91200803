//! What counts for an objective, and as what: exclusions, shed requests, Apdex against an integer oracle.

use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use scalekit_core::http::{Problem, Shed};
use scalekit_core::slo::{Objective, ObjectiveSet, Outcome, RouteRow, Slo};
use scalekit_testkit::{Rng, full, seed};

use crate::parse::parse;
use crate::support::{checkout, layered, only_outcome, row, send, take};

const T: Duration = Duration::from_millis(300);

fn counted(row: &RouteRow) -> (u64, u64, u64) {
    (row.good.unwrap(), row.available.unwrap(), row.total.unwrap())
}

/// A refusal is shed only by its mark, and a mark does not make a success a refusal.
#[tokio::test]
async fn only_a_marked_refusal_is_shed() {
    let marked = |status: StatusCode| {
        let mut response = status.into_response();
        response.extensions_mut().insert(Shed);
        response
    };
    let overloaded = || Problem::overloaded(Duration::from_secs(1)).into_response();
    let down = || scalekit_core::Error::new(scalekit_core::ErrorKind::Unavailable, "down").into_response();
    // good, available, total by default; then with nothing excluded
    let rows = [
        (overloaded(), "shed", [(0, 0, 0), (0, 0, 1)]),
        (marked(StatusCode::TOO_MANY_REQUESTS), "shed", [(0, 0, 0), (0, 0, 1)]),
        (marked(StatusCode::OK), "ok", [(1, 1, 1), (1, 1, 1)]),
        (StatusCode::SERVICE_UNAVAILABLE.into_response(), "server_error", [(0, 0, 1), (0, 0, 1)]),
        (down(), "server_error", [(0, 0, 1), (0, 0, 1)]),
        (StatusCode::NOT_FOUND.into_response(), "client_error", [(0, 0, 0), (1, 1, 1)]),
    ];
    for (response, outcome, expected) in rows {
        let (parts, _) = response.into_parts();
        for (exclude_nothing, expected) in [false, true].into_iter().zip(expected) {
            let mut objective = Objective::new("checkout").route(Method::POST, "/checkout");
            objective = objective.latency(T).target(0.99).availability(0.999);
            if exclude_nothing {
                objective = objective.exclude([]);
            }
            let slo = Slo::new(ObjectiveSet::builder("shop").objective(objective).build().unwrap());
            let parts = parts.clone();
            let answer = move || async move { Response::from_parts(parts, axum::body::Body::empty()) };
            send(&layered(&slo, Router::new().route("/checkout", post(answer))), "POST", "/checkout").await;
            let row = row(&slo, "POST", "/checkout");
            assert_eq!((only_outcome(&row).0, counted(&row)), (outcome, expected), "{row:?}");
        }
    }
}

/// Good, total and Apdex are what whole numbers say, in the rows, in the counters and in the buckets of T and 4T.
#[tokio::test(start_paused = true)]
async fn apdex_is_exact() {
    let mut random = Rng::new(seed());
    for threshold in [100_000, 300_000_000, 333_333_333] {
        let slo = Slo::new(checkout(Duration::from_nanos(threshold)));
        assert_eq!(row(&slo, "POST", "/checkout").apdex, None, "no request, no score");
        let mut oracle = [0_u64; 3];
        let requests: u64 = if full() { 334_000 } else { 3_000 };
        for n in 0..requests {
            let near = [threshold, threshold * 4][random.below(2) as usize];
            // Half of them within 2 ns of a border.
            let nanos = if n % 2 == 0 { near + random.below(5) - 2 } else { random.below(threshold * 6) };
            take(&slo, Duration::from_nanos(nanos)).await;
            let zone = [nanos <= threshold, nanos <= threshold * 4, true].iter().position(|within| *within);
            oracle[zone.unwrap()] += 1;
        }
        let row = row(&slo, "POST", "/checkout");
        assert_eq!(counted(&row), (oracle[0], requests, requests));
        let score = (oracle[0] as f64 + oracle[1] as f64 / 2.0) / requests as f64;
        assert_eq!(row.apdex, Some(score));

        let scrape = parse(&slo.render());
        for (zone, n) in ["satisfied", "tolerating", "frustrated"].into_iter().zip(oracle) {
            let labels = [("slo", "checkout"), ("zone", zone)];
            assert_eq!(scrape.value("scalekit_slo_apdex_total", &labels) as u64, n, "{zone}");
        }
        for (bound, below) in [(threshold, oracle[0]), (threshold * 4, oracle[0] + oracle[1])] {
            let le = crate::support::decimal(bound);
            let labels = [("http_response_status_code", "200"), ("le", le.as_str())];
            let bucket = scrape.sum("http_server_request_duration_seconds_bucket", &labels);
            assert_eq!(bucket as u64, below, "le={le}");
        }
    }
}

/// What fails is frustrating however fast it is, and what does not count has no zone.
#[tokio::test]
async fn failures_frustrate_and_the_excluded_have_no_zone() {
    let slo = Slo::new(checkout(T));
    let answer = |code: axum::extract::Path<u16>| async move { StatusCode::from_u16(*code).unwrap() };
    let routes = Router::new().route("/checkout", post(|| async { StatusCode::INTERNAL_SERVER_ERROR }));
    let app = layered(&slo, routes.route("/other/{code}", post(answer)));
    send(&app, "POST", "/checkout").await;
    send(&app, "POST", "/other/500").await;
    let scrape = parse(&slo.render());
    let zones = ["satisfied", "tolerating", "frustrated"]
        .map(|zone| scrape.value("scalekit_slo_apdex_total", &[("slo", "checkout"), ("zone", zone)]));
    assert_eq!(zones, [0.0, 0.0, 1.0]);
    assert_eq!(row(&slo, "POST", "/checkout").apdex, Some(0.0));
    assert_eq!(row(&slo, "POST", "/other/{code}").apdex, None, "it has no objective");

    let up = Objective::new("up").route(Method::POST, "/checkout").availability(0.9);
    let timeless = Slo::new(ObjectiveSet::builder("shop").objective(up).build().unwrap());
    let scrape = parse(&timeless.render());
    assert_eq!(scrape.kinds["scalekit_slo_apdex_total"], "counter");
    assert_eq!(scrape.sum("scalekit_slo_apdex_total", &[]), 0.0);
    assert_eq!(row(&timeless, "POST", "/checkout").apdex, None, "there is no threshold");
    assert_eq!(Outcome::Shed.as_str(), "shed");
}
