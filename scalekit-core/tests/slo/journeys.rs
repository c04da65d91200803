//! A journey counts its last step and what failed on the way, and nothing twice.

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use scalekit_core::ErrorKind;
use scalekit_core::http::Problem;
use scalekit_core::slo::{Objective, ObjectiveRow, ObjectiveSet, Outcome, Slo};
use scalekit_testkit::{Rng, full, seed};

use crate::parse::parse;
use crate::support::{decimal, layered, send};

const T: Duration = Duration::from_millis(700);

fn paid() -> Objective {
    let paid = Objective::new("checkout-paid").route(Method::POST, "/orders/{code}").until("paid");
    paid.latency(T).target(0.99).availability(0.995)
}

fn placed() -> Objective {
    Objective::new("orders").route(Method::POST, "/orders/{code}").latency(T * 2).target(0.9)
}

fn slo(objectives: impl IntoIterator<Item = Objective>) -> Slo {
    let set = ObjectiveSet::builder("shop");
    Slo::new(objectives.into_iter().fold(set, |set, o| set.objective(o)).build().unwrap())
}

fn row(slo: &Slo, name: &str) -> ObjectiveRow {
    slo.objective_rows().into_iter().find(|row| row.objective == name).unwrap()
}

fn counted(slo: &Slo, name: &str) -> (u64, u64, u64) {
    let row = row(slo, name);
    (row.good, row.available, row.total)
}

/// Answers with the status of the path: 0 panics, 1 sheds.
fn shop(slo: &Slo) -> Router {
    let answer = |Path(code): Path<u16>| async move {
        assert_ne!(code, 0, "the handler panicked on purpose");
        match code {
            1 => Problem::overloaded(Duration::from_secs(1)).into_response(),
            code => StatusCode::from_u16(code).unwrap().into_response(),
        }
    };
    layered(slo, Router::new().route("/orders/{code}", post(answer)).route("/pay/{code}", post(answer)))
}

#[tokio::test]
async fn a_request_counts_only_if_it_fails_by_our_fault() {
    // status, journey (good, available, total), the plain objective of the same route
    let rows = [
        (201, (0, 0, 0), (1, 1, 1)),
        (409, (0, 0, 0), (0, 0, 0)),
        (1, (0, 0, 0), (0, 0, 0)),
        (500, (0, 0, 1), (0, 0, 1)),
        (503, (0, 0, 1), (0, 0, 1)),
        (0, (0, 0, 1), (0, 0, 1)),
    ];
    for (status, journey, plain) in rows {
        let slo = slo([paid(), placed()]);
        let app = shop(&slo);
        let sent = tokio::spawn(async move { send(&app, "POST", &format!("/orders/{status}")).await });
        assert_eq!(sent.await.is_err(), status == 0);
        assert_eq!(counted(&slo, "checkout-paid"), journey, "{status}");
        assert_eq!(counted(&slo, "orders"), plain, "{status}");
    }
    // Given up after the threshold: the order may be paid all the same, so its step will tell.
    let slo = slo([paid().latency(Duration::from_micros(100)), placed().latency(Duration::from_micros(100))]);
    let layer = slo.layer(|_| Some("/orders/{code}"));
    let stuck =
        tower::service_fn(|_| std::future::pending::<Result<axum::response::Response, std::io::Error>>());
    let sent =
        tower::ServiceExt::oneshot(tower::Layer::layer(&layer, stuck), crate::support::request("POST", "/"));
    assert!(tokio::time::timeout(Duration::from_millis(5), sent).await.is_err());
    assert_eq!((counted(&slo, "checkout-paid"), counted(&slo, "orders")), ((0, 0, 0), (0, 1, 1)));
    // What is not counted, and what is, can be said.
    let slo = self::slo([paid().exclude([])]);
    send(&shop(&slo), "POST", "/orders/1").await;
    send(&shop(&slo), "POST", "/orders/404").await;
    assert_eq!(counted(&slo, "checkout-paid"), (0, 0, 1), "the shed one");
}

#[tokio::test]
async fn several_routes_and_several_journeys_share_requests() {
    let shipped = Objective::new("shipped").route(Method::POST, "/pay/{code}").until("shipped");
    let both = paid().route(Method::POST, "/pay/{code}");
    let slo = slo([both, shipped.latency(T).target(0.9), placed()]);
    for path in ["/orders/500", "/pay/500", "/pay/200", "/orders/200"] {
        send(&shop(&slo), "POST", path).await;
    }
    slo.step("shipped").unwrap().done(T);
    assert_eq!(counted(&slo, "checkout-paid"), (0, 0, 2));
    assert_eq!(counted(&slo, "shipped"), (1, 1, 2));
    assert_eq!(counted(&slo, "orders"), (1, 1, 2));
}

/// Steps, failures and the bounds of T and 4T against whole numbers, from several threads.
#[test]
fn steps_are_exact() {
    let mut random = Rng::new(seed());
    let slo = slo([paid()]);
    let threshold = u64::try_from(T.as_nanos()).unwrap();
    let (threads, each): (u64, u64) = (4, if full() { 25_000 } else { 1_000 });
    let mut oracle = [0_u64; 4];
    let mut plans = Vec::new();
    for _ in 0..threads {
        let plan: Vec<Option<u64>> = (0..each)
            .map(|_| match random.below(4) {
                0 => None,
                1 => Some(threshold + random.below(3) - 1),
                2 => Some(threshold * 4 + random.below(3) - 1),
                _ => Some(random.below(threshold * 6)),
            })
            .collect();
        for nanos in &plan {
            let zone = match nanos {
                None => 3,
                Some(nanos) if *nanos <= threshold => 0,
                Some(nanos) if *nanos <= threshold * 4 => 1,
                Some(_) => 2,
            };
            oracle[zone] += 1;
        }
        plans.push(plan);
    }
    std::thread::scope(|scope| {
        for plan in plans {
            let step = slo.step("checkout-paid").unwrap();
            scope.spawn(move || {
                for nanos in plan {
                    nanos.map_or_else(|| step.failed(), |nanos| step.done(Duration::from_nanos(nanos)));
                }
            });
        }
    });
    let [satisfied, tolerating, slow, failed] = oracle;
    let total = threads * each;
    assert_eq!(counted(&slo, "checkout-paid"), (satisfied, total - failed, total));
    let score = (satisfied as f64 + tolerating as f64 / 2.0) / total as f64;
    assert_eq!(row(&slo, "checkout-paid").apdex, Some(score));

    let scrape = parse(&slo.render());
    let labels = [("slo", "checkout-paid"), ("step", "paid")];
    let family = "scalekit_journey_duration_seconds";
    assert_eq!(scrape.kinds[family], "histogram");
    assert_eq!(scrape.value(&format!("{family}_count"), &labels) as u64, total - failed);
    for (bound, below) in [(threshold, satisfied), (threshold * 4, satisfied + tolerating)] {
        let le = decimal(bound);
        let labels = [labels[0], labels[1], ("le", &le)];
        assert_eq!(scrape.value(&format!("{family}_bucket"), &labels) as u64, below);
    }
    for (zone, n) in [("satisfied", satisfied), ("tolerating", tolerating), ("frustrated", slow + failed)] {
        let labels = [("slo", "checkout-paid"), ("zone", zone)];
        assert_eq!(scrape.value("scalekit_slo_apdex_total", &labels) as u64, n, "{zone}");
    }
}

#[test]
fn everything_of_a_journey_is_there_before_it_begins() {
    let slo = slo([paid()]);
    let scrape = parse(&slo.render());
    let (name, step) = (("slo", "checkout-paid"), ("step", "paid"));
    assert_eq!(scrape.value("scalekit_journey_duration_seconds_count", &[name, step]), 0.0);
    for counter in ["scalekit_slo_good_total", "scalekit_slo_available_total", "scalekit_slo_requests_total"]
    {
        assert_eq!(scrape.value(counter, &[name]), 0.0);
    }
    assert_eq!(scrape.value("scalekit_slo_threshold_seconds", &[name]), 0.7);
    let route = [("http_request_method", "POST"), ("http_route", "/orders/{code}"), ("outcome", "ok")];
    assert_eq!(scrape.value("scalekit_http_outcomes_total", &route), 0.0);
    let row = row(&slo, "checkout-paid");
    assert_eq!((row.until.as_deref(), row.p95, row.apdex), (Some("paid"), None, None));
    assert_eq!(slo.snapshot()[0].objective, None, "its route has no objective of its own");
}

#[test]
fn clocks_that_disagree_make_no_negative_journey() {
    let slo = slo([paid()]);
    let step = slo.step("checkout-paid").unwrap();
    step.done_since(SystemTime::now() + Duration::from_secs(3_600));
    assert_eq!(counted(&slo, "checkout-paid"), (1, 1, 1));
    step.clone().done_since(SystemTime::now() - T * 2);
    step.done_since(SystemTime::UNIX_EPOCH);
    let row = row(&slo, "checkout-paid");
    assert_eq!((row.good, row.total, row.apdex), (1, 3, Some(0.5)));
}

#[test]
fn what_cannot_be_a_journey_is_refused_by_name() {
    use scalekit_core::slo::Shape;
    let build = |objectives: Vec<Objective>| {
        let set = ObjectiveSet::builder("shop");
        objectives.into_iter().fold(set, |set, o| set.objective(o)).build()
    };
    let other =
        || Objective::new("b").route(Method::POST, "/orders/{code}").until("x").latency(T).target(0.9);
    let bare = Objective::new("a").route(Method::POST, "/a").availability(0.9).until("x");
    for (objectives, why) in [
        (vec![bare], "\"a\" is a journey until \"x\", which needs a latency"),
        (vec![paid().until("")], "\"checkout-paid\" is a journey until a step with an empty name"),
        (
            vec![paid().shape(Shape::Unary)],
            "\"checkout-paid\" is a journey until \"paid\": it has no response",
        ),
        (
            vec![paid().route(Method::POST, "/orders/{code}")],
            "\"checkout-paid\" names POST /orders/{code}, which",
        ),
        (vec![placed(), other(), placed()], "objective \"orders\" is declared twice"),
        (vec![paid().exclude([Outcome::Panicked])], "excludes panicked"),
    ] {
        let error = build(objectives).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(why), "{error}");
    }
    let slo = Slo::new(build(vec![paid(), placed(), other()]).unwrap());
    for (name, why) in
        [("nobody", "is not declared"), ("orders", "is no journey"), ("paid", "is not declared")]
    {
        let error = slo.step(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("objective {name:?} {why}")), "{error}");
    }
}
