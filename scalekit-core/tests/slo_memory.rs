//! What clients choose leaves nothing behind: series and resident memory stay where they are.
//!
//! Alone in its process, whose memory is what is measured.
#![cfg(all(feature = "slo", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::http::{Method, Request, request::Parts};
use axum::response::Response;
use axum::{Router, routing::any};
use scalekit_core::Principal;
use scalekit_core::http::{Authenticate, principal_layer};
use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
use scalekit_testkit::{Rng, evidence, full, seed};
use tower::Service;

/// Its tenant is what the client says.
struct Believed;

#[async_trait]
impl Authenticate for Believed {
    async fn authenticate(&self, parts: &mut Parts) -> Result<Option<Principal>, Response> {
        let tenant = parts.headers["tenant"].to_str().unwrap();
        Ok(Some(Principal::user("ada").tenant(tenant)))
    }
}

#[tokio::test]
async fn strangers_add_neither_series_nor_memory() {
    let requests: u64 = if full() { 1_000_000 } else { 50_000 };
    let objective = Objective::new("order").route(Method::GET, "/orders/{id}").availability(0.999);
    let set = ObjectiveSet::builder("shop").objective(objective).build().unwrap();
    let slo = Slo::builder(set).tenants().build().unwrap();
    let routes = Router::new().route("/orders/{id}", any(|| async { "order" }));
    let routes = routes.route_layer(principal_layer(Believed));
    let layer = slo.layer(|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let mut app = routes.layer(layer).with_state::<()>(());
    let mut random = Rng::new(seed());

    // Twice, so that the allocator has met all sizes, those of a scrape among them.
    strangers(&mut app, &mut random, 10_000).await;
    series(&slo);
    strangers(&mut app, &mut random, 10_000).await;
    let warm = (series(&slo), resident());
    strangers(&mut app, &mut random, requests).await;
    let after = (series(&slo), resident());

    assert_eq!(after.0, warm.0, "series");
    // The allocator may hold a few pages more or less of what requests themselves need for a moment.
    let grown = after.1.saturating_sub(warm.1);
    assert!(grown <= 64 << 10, "{requests} requests added {grown} bytes to {}", warm.1);
    let outcome = format!("0 series, {grown} bytes added to the process");
    evidence("random paths, hosts, methods and tenants", &format!("{requests} requests"), &outcome);
}

async fn strangers(app: &mut Router, random: &mut Rng, requests: u64) {
    for _ in 0..requests {
        let path = format!("/{}/{:x}", random.pick(&["orders", "x"]), random.next_u64());
        let method = match random.below(4) {
            0 => format!("M{}", random.below(1 << 40)),
            _ => (*random.pick(&["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])).to_owned(),
        };
        let request = Request::builder().method(method.as_str()).uri(path);
        let request = request.header("host", format!("h{:x}", random.next_u64()));
        let request = request.header("tenant", format!("t{:x}", random.next_u64()));
        let answer = app.call(request.body(Body::empty()).unwrap()).await.unwrap();
        axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
    }
}

/// All but those of tenants: which ones are shown may change, and how many are is bounded.
fn series(slo: &Slo) -> usize {
    let text = slo.render();
    let (tenants, others): (Vec<_>, Vec<_>) = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .partition(|line| line.starts_with("scalekit_tenant_"));
    assert!((2..=2 * 22).contains(&tenants.len()), "{tenants:?}");
    others.len()
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
