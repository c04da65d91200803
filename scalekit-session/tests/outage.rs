//! A store that stops answering under load signs nobody out and overwrites nothing, and only its own routes wait.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use common::{Browser, LONG, VIEWS, ring, shop};
use scalekit_core::redis::Redis;
use scalekit_session::{Cookie, MaybeSession, RedisStore, Session, Sessions};
use scalekit_testkit::{evidence, full, wait_until};
use serde_json::json;
use tokio::task::JoinSet;

/// With the budgets that users have.
fn real(url: &str) -> Sessions {
    let store = RedisStore::new(Redis::open(url).unwrap());
    Sessions::builder(store, ring()).namespace("shop").cookie(Cookie::dev("id")).build().unwrap()
}

fn app(sessions: &Sessions) -> Router {
    let product = get(async |session: MaybeSession| match session {
        MaybeSession::Available(_) => "with a session",
        MaybeSession::Stale(_) | MaybeSession::Unavailable(_) => "without",
    });
    let count = get(async |session: Session| session.incr(VIEWS, 1));
    shop(sessions)
        .merge(Router::new().route("/product", product).route("/count", count).layer(sessions.layer()))
}

/// What one kind of request took, while the store answered and while it did not.
#[derive(Default)]
struct Took {
    before: Vec<Duration>,
    during: Vec<Duration>,
}

impl Took {
    fn p99(times: &mut [Duration]) -> Duration {
        times.sort_unstable();
        times[times.len() * 99 / 100]
    }
}

/// Sends one request after the other until told to stop, and looks at the answers.
async fn load(
    mut browser: Browser,
    path: &'static str,
    out: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> (Browser, Took, u64) {
    let (mut took, mut counted) = (Took::default(), 0);
    while !stop.load(Ordering::SeqCst) {
        let (was_out, start) = (out.load(Ordering::SeqCst), Instant::now());
        let answer = browser.get(path).await;
        let elapsed = start.elapsed();
        if was_out == out.load(Ordering::SeqCst) {
            if was_out { &mut took.during } else { &mut took.before }.push(elapsed);
        }
        match answer.status {
            StatusCode::OK | StatusCode::NO_CONTENT => counted += 1,
            StatusCode::SERVICE_UNAVAILABLE => assert!(answer.cookies().is_empty(), "{path}: {answer:?}"),
            other => panic!("{path}: {other}"),
        }
        assert!(browser.cookie.is_some(), "{path}: signed out");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    (browser, took, counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_without_an_answer_sign_nobody_out() {
    let pause = Duration::from_millis(if full() { 10_000 } else { 1_500 });
    let server = common::redis().await;
    let app = app(&real(&server.url()));
    let mut users = Vec::new();
    for user in 0..24 {
        let mut browser = Browser::new(&app);
        while browser.cookie.is_none() {
            browser.post(&format!("/sign-in/acme/user{user}")).await;
        }
        users.push(browser);
    }
    let (out, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for (user, browser) in users.into_iter().enumerate() {
        let path = ["/static", "/product", "/count", "/me"][user % 4];
        let work = load(browser, path, out.clone(), stop.clone());
        clients.spawn(async move { (user, path, work.await) });
    }
    tokio::time::sleep(pause / 2).await;
    server.pause().await;
    out.store(true, Ordering::SeqCst);
    tokio::time::sleep(pause).await;
    server.resume();
    let back = Instant::now();
    let probe = {
        let mut probe = Browser::new(&app);
        let probe_app = &app;
        wait_until("sessions are back", LONG, async || {
            let mut fresh = Browser::new(probe_app);
            fresh.post("/views").await.status == StatusCode::OK
        })
        .await;
        probe.post("/views").await;
        back.elapsed()
    };
    stop.store(true, Ordering::SeqCst);
    let (mut quiet, mut optional) = (Took::default(), Took::default());
    for (user, path, (mut browser, took, counted)) in clients.join_all().await {
        let all = browser.get("/all").await.json();
        assert_eq!(all["user"], json!(["acme", format!("user{user}")]), "{path}: signed out");
        if path == "/count" {
            // What was answered with 503 may have been counted: its outcome is unknown.
            assert!(all["views"].as_u64().unwrap() >= counted, "overwritten: {all}, {counted} answered");
        }
        let sum = match path {
            "/static" => &mut quiet,
            "/product" => &mut optional,
            _ => continue,
        };
        sum.before.extend(took.before);
        sum.during.extend(took.during);
    }
    let [calm, unmoved] = [Took::p99(&mut quiet.before), Took::p99(&mut quiet.during)];
    let without = Took::p99(&mut optional.during);
    let outcome = format!(
        "0 signed out, 0 overwritten; p99 without a session {calm:.1?} before and {unmoved:.1?} meanwhile; \
         with an optional one {without:.1?}; back after {probe:.1?}"
    );
    evidence("a Redis that does not answer under load", &format!("{pause:.0?}, 24 clients"), &outcome);
    if full() {
        assert!(without <= Duration::from_millis(205), "the optional routes take {without:?}");
        assert!(unmoved <= calm * 3 + Duration::from_millis(5), "{calm:?} became {unmoved:?}");
        assert!(probe <= Duration::from_secs(1), "back after {probe:?}");
    }
}
