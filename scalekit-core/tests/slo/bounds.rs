//! Whatever clients and routers do, the number of series has an end.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Waker};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{any, get};
use scalekit_core::slo::{MAX_ROUTES, MAX_STATUSES, Slo};
use scalekit_testkit::{Rng, full, seed};

use crate::parse::parse;
use crate::support::{checkout, layered, row, send};

#[tokio::test]
async fn random_paths_and_methods_are_one_route_and_ten_methods() {
    let mut random = Rng::new(seed());
    let slo = Slo::new(checkout(Duration::from_millis(300)));
    let app = layered(&slo, Router::new().route("/orders/{id}", get(|| async {})));
    let mut series = 0;
    for round in 0..2 {
        for n in 0..3_000 {
            let method = match random.below(4) {
                0 => format!("M{}", random.below(1 << 40)),
                _ => "GET POST PUT DELETE PATCH HEAD OPTIONS TRACE".split(' ').nth(n % 8).unwrap().to_owned(),
            };
            let path = format!("/{}/{:x}", ["orders", "x"][random.below(2) as usize], random.below(1 << 60));
            send(&app, &method, &path).await;
        }
        let scrape = parse(&slo.render());
        let routes: Vec<_> = scrape.label_values("http_route").into_iter().collect();
        assert_eq!(routes, ["/checkout", "/orders/{id}", "<unmatched>"]);
        assert!(scrape.label_values("http_request_method").len() <= 10);
        assert!(round == 0 || scrape.len() == series, "{series} series became {}", scrape.len());
        series = scrape.len();
        let total = scrape.sum("scalekit_http_outcomes_total", &[]) as usize;
        assert_eq!(total, 3_000 * (round + 1));
    }
}

#[tokio::test]
async fn routes_beyond_the_bound_are_counted_together_and_declared_ones_keep_their_place() {
    let slo = Slo::new(checkout(Duration::from_millis(300)));
    let mut app = Router::new().route("/checkout", any(|| async {}));
    for n in 0..MAX_ROUTES + 50 {
        app = app.route(&format!("/r{n}"), get(|| async {}));
    }
    let app = layered(&slo, app);
    for n in 0..MAX_ROUTES + 50 {
        send(&app, "GET", &format!("/r{n}")).await;
    }
    send(&app, "POST", "/checkout").await;
    send(&app, "GET", "/r0").await;
    // The declared route is one of MAX_ROUTES, so 51 of the others found no place.
    assert_eq!(row(&slo, "GET", "<other>").count, 51);
    assert_eq!(row(&slo, "GET", "/r0").count, 2);
    assert_eq!(row(&slo, "POST", "/checkout").good, Some(1));
    assert_eq!(parse(&slo.render()).label_values("http_route").len(), MAX_ROUTES + 1);
}

#[tokio::test]
async fn routes_named_like_our_own_labels_write_no_series_twice() {
    let slo = Slo::new(checkout(Duration::from_millis(300)));
    for label in ["<unmatched>", "<other>", ""] {
        let service = tower::service_fn(|_| async {
            Ok::<_, std::convert::Infallible>(axum::response::Response::new(axum::body::Body::empty()))
        });
        let service = tower::Layer::layer(&slo.layer(move |_| Some(label)), service);
        tower::ServiceExt::oneshot(service, crate::support::request("GET", "/")).await.unwrap();
    }
    send(&layered(&slo, Router::new()), "GET", "/nowhere").await;
    assert_eq!(row(&slo, "GET", "<unmatched>").count, 2);
    parse(&slo.render());
}

#[tokio::test]
async fn statuses_beyond_the_bound_share_a_histogram() {
    let slo = Slo::new(checkout(Duration::from_millis(300)));
    let answer = |axum::extract::Path(code): axum::extract::Path<u16>| async move {
        StatusCode::from_u16(code).unwrap()
    };
    let app = layered(&slo, Router::new().route("/status/{code}", get(answer)));
    for code in 200..300 {
        send(&app, "GET", &format!("/status/{code}")).await;
    }
    let scrape = parse(&slo.render());
    assert_eq!(scrape.label_values("http_response_status_code").len(), MAX_STATUSES + 1);
    let route = [("http_route", "/status/{code}")];
    assert_eq!(scrape.sum("http_server_request_duration_seconds_count", &route), 100.0);
    let other = [("http_route", "/status/{code}"), ("http_response_status_code", "_OTHER")];
    let other = scrape.sum("http_server_request_duration_seconds_count", &other);
    assert_eq!(other, (100 - MAX_STATUSES) as f64);
}

/// Threads that meet new routes at the same time agree on one place for each, and on where there is no more room.
#[test]
fn routes_learned_by_several_threads_are_counted_once_each() {
    const THREADS: usize = 4;
    let rounds = if full() { 200 } else { 10 };
    for _ in 0..rounds {
        let slo = Slo::new(checkout(Duration::from_millis(300)));
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (slo, start) = (&slo, &start);
                scope.spawn(move || {
                    let layer = slo.layer(|request| request.headers().get("route")?.to_str().ok());
                    let ready = tower::service_fn(|_| async {
                        Ok::<_, std::convert::Infallible>(axum::response::Response::default())
                    });
                    start.wait();
                    for n in 0..2 * MAX_ROUTES {
                        // Two threads go up, two come down: they meet at new routes and at the last place.
                        let n = if thread % 2 == 0 { n } else { 2 * MAX_ROUTES - 1 - n };
                        let mut request = crate::support::request("GET", "/");
                        request.headers_mut().insert("route", format!("/r{n}").parse().unwrap());
                        let sent = tower::ServiceExt::oneshot(tower::Layer::layer(&layer, ready), request);
                        let polled = pin!(sent).poll(&mut Context::from_waker(Waker::noop()));
                        assert!(polled.is_ready());
                    }
                });
            }
        });
        let rows = slo.snapshot();
        let learned = rows.iter().filter(|row| row.route.starts_with("/r"));
        let learned: Vec<_> = learned.map(|row| (&row.route, row.count)).collect();
        // One place is that of the declared route.
        assert_eq!(learned.len(), MAX_ROUTES - 1);
        assert_eq!(learned.iter().map(|(route, _)| route).collect::<HashSet<_>>().len(), learned.len());
        assert!(learned.iter().all(|(_, count)| *count == THREADS as u64), "{learned:?}");
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), (THREADS * 2 * MAX_ROUTES) as u64);
        assert_eq!(row(&slo, "GET", "<other>").in_flight, 0);
    }
}
