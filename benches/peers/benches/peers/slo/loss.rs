//! What layers lose of requests that go wrong: the attack that our own tests make, with theirs around the same app.

#[path = "../../../../../scalekit-core/tests/slo/mishaps.rs"]
#[allow(dead_code, reason = "its own tests use the rest")]
mod mishaps;

use axum::{Router, body::Body, routing::get};
use futures_util::FutureExt as _;
use http::Request;
use mishaps::{Mishap, routes};
use scalekit_bench::duel::table;
use scalekit_bench_peers::layers::{self, Layered};
use scalekit_core::slo::Outcome;
use scalekit_testkit::{Rng, seed};
use tower::ServiceExt as _;

const REQUESTS: u32 = 20_000;
const STRANGERS: usize = 2_000;

pub(crate) fn run() {
    // Handlers panic on purpose.
    std::panic::set_hook(Box::new(|_| ()));
    let seed = seed();
    let rows: Vec<_> = layers::ALL.iter().map(|wire| lost(&wire(routes()), seed)).collect();
    let _quiet = std::panic::take_hook();
    table(
        &format!(
            "{REQUESTS} requests, three in ten given up by the client, some with panics and broken bodies"
        ),
        &["layer", "given up", "durations missing", "in flight afterwards"],
        &rows,
    );
    let rows: Vec<_> =
        layers::ALL.iter().map(|wire| grown(&wire(Router::new().route("/", get(|| async {}))))).collect();
    table(
        &format!("Series that {STRANGERS} strangers add"),
        &["layer", "by unknown paths", "by `Host` headers", "by methods"],
        &rows,
    );
}

fn lost(layered: &Layered, seed: u64) -> Vec<String> {
    // One of them counts for the whole process.
    let (durations, in_flight) = (layered.durations(), layered.in_flight());
    let mut random = Rng::new(seed);
    let mut given_up = 0;
    for _ in 0..REQUESTS {
        let end = Mishap::random(&mut random).drive(&layered.app);
        given_up += u32::from(matches!(end.outcome, Outcome::CancelledHead | Outcome::CancelledBody));
    }
    let missing = f64::from(REQUESTS) - (layered.durations() - durations);
    let in_flight = layered.in_flight() - in_flight;
    vec![layered.name.to_owned(), given_up.to_string(), format!("**{missing}**"), format!("**{in_flight}**")]
}

fn grown(layered: &Layered) -> Vec<String> {
    let ask = |request: http::request::Builder| {
        let answer = layered.app.clone().oneshot(request.body(Body::empty()).unwrap()).now_or_never();
        answer.expect("nothing to wait for").unwrap();
    };
    // A first one of each kind, so that only the strangers count.
    let known = [
        Request::get("/nowhere"),
        Request::get("/").header("host", "shop"),
        Request::builder().method("BREW"),
    ];
    known.into_iter().for_each(ask);
    let mut row = vec![layered.name.to_owned()];
    let kinds: [fn(usize) -> http::request::Builder; 3] = [
        |n| Request::get(format!("/nowhere/{n}")),
        |n| Request::get("/").header("host", format!("host-{n}")),
        |n| Request::builder().method(format!("BREW{n}").as_str()),
    ];
    for kind in kinds {
        let before = layered.series();
        (0..STRANGERS).for_each(|n| ask(kind(n)));
        row.push(format!("**{}**", layered.series() - before));
    }
    row
}
