//! Who watches a session hears of its end, whichever node ends it and however the connection fares.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::post};
use common::{
    Browser, LONG,
    hooked::{Hooked, Step, unanswered},
    on_memory, on_redis, patient, redis, ring, shop, signed_in, with,
};
use scalekit_core::{ManualClock, redis::cmd};
use scalekit_session::{MemoryStore, ReadSession, RedisStore, Sessions, Watch};
use scalekit_testkit::{Proxy, evidence, full, wait_until};
use tokio::time::timeout;

type Watches = Arc<Mutex<Vec<Watch>>>;

/// The shop, and a route that leaves a watch of its session.
fn watched(sessions: &Sessions) -> (Router, Watches) {
    let watches = Watches::default();
    let left = watches.clone();
    let watch = move |session: ReadSession| {
        let left = left.clone();
        async move {
            let watch = session.watch().await?;
            left.lock().unwrap().push(watch);
            Ok::<(), scalekit_core::Error>(())
        }
    };
    let extra = Router::new().route("/watch", post(watch)).layer(sessions.layer());
    (shop(sessions).merge(extra), watches)
}

async fn watch(browser: &Browser, app: &Router, watches: &Watches) -> Watch {
    assert!(browser.on(app).send_only("POST", "/watch", "").await.status.is_success());
    watches.lock().unwrap().pop().unwrap()
}

async fn ends(mut watch: Watch) {
    timeout(LONG, watch.ended()).await.expect("nobody told");
    assert!(watch.has_ended());
}

#[tokio::test]
async fn every_kind_of_end_is_told_and_nothing_else() {
    let server = redis().await;
    for store in ["memory", "redis"] {
        let one = if store == "memory" { on_memory() } else { on_redis(&server.url()) };
        // Another node, where there can be one.
        let two = if store == "memory" { one.clone() } else { on_redis(&server.url()) };
        let ((here, watches), there) = (watched(&one), shop(&two));
        for end in ["/sign-out", "/revoke/all", "/revoke/others", "/sign-in/acme/ada", "/sign-in/acme/bob"] {
            let browser = signed_in(&there, "acme", "ada").await;
            let other = signed_in(&there, "acme", "ada").await;
            let stranger = signed_in(&there, "acme", "eve").await;
            let mine = watch(&browser, &here, &watches).await;
            let again = watch(&browser, &here, &watches).await;
            let calm = watch(&stranger, &here, &watches).await;
            browser.send_only("POST", "/views", "").await;
            assert!(!mine.has_ended(), "{store} {end}: a write is no end");
            let who = if end == "/revoke/others" { &other } else { &browser };
            assert!(who.on(&there).send_only("POST", end, "").await.status.is_success());
            ends(mine).await;
            ends(again).await;
            assert!(!calm.has_ended(), "{store} {end}: another user's");
            assert!(watch(&browser, &here, &watches).await.has_ended(), "{store} {end}: it was over before");
        }
    }
}

#[tokio::test]
async fn a_guests_session_ends_when_its_guest_signs_in() {
    let server = redis().await;
    for sessions in [on_memory(), on_redis(&server.url())] {
        let (app, watches) = watched(&sessions);
        let mut guest = Browser::new(&app);
        guest.post("/cart/tea/1").await;
        let mine = watch(&guest, &app, &watches).await;
        guest.post("/cart/tea/1").await;
        assert!(!mine.has_ended());
        let before = guest.clone();
        guest.post("/sign-in/acme/ada").await;
        ends(mine).await;
        assert!(
            watch(&before, &app, &watches).await.has_ended(),
            "it can be read, but is no session any more"
        );
        assert!(!watch(&guest, &app, &watches).await.has_ended());
    }
}

/// Signed-in browsers of a shop, and a watch of each.
async fn many(app: &Router, watches: &Watches, count: usize) -> (Vec<Browser>, Vec<Watch>) {
    let (mut browsers, mut all) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let browser = signed_in(app, "acme", "ada").await;
        all.push(watch(&browser, app, watches).await);
        browsers.push(browser);
    }
    (browsers, all)
}

#[tokio::test(start_paused = true)]
async fn many_sessions_are_looked_at_together_and_an_end_is_told_meanwhile() {
    let (under_way, held) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, holds) = (under_way.clone(), held.clone());
    let store = Hooked::new(move |step| {
        let waits = step == Step::Asked("peek") && holds.load(Ordering::SeqCst);
        counted.fetch_add(usize::from(waits), Ordering::SeqCst);
        async move {
            if waits {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    let (app, watches) = watched(&store.sessions());
    let (browsers, mut all) = many(&app, &watches, 200).await;
    held.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(under_way.load(Ordering::SeqCst), 64, "together, and not all of them");
    // None of these looks is ever answered.
    browsers[199].clone().post("/sign-out").await;
    ends(all.pop().unwrap()).await;
    assert!(all.iter().all(|one| !one.has_ended()));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_not_answered_is_repeated_soon_and_ends_nothing() {
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let away = Arc::new(AtomicBool::new(false));
    let is_away = away.clone();
    let store = Hooked::new(move |step| {
        let fails = step == Step::Asked("peek") && is_away.load(Ordering::SeqCst);
        async move { if fails { Err(unanswered()) } else { Ok(()) } }
    });
    let store = Hooked { store: MemoryStore::with_clock(clock.clone()), ..store };
    let (app, watches) = watched(&store.sessions());
    let (_, all) = many(&app, &watches, 3).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    away.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(31 * 60));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(all.iter().all(|one| !one.has_ended()), "nobody knows");
    away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(all.iter().all(Watch::has_ended), "not looked at again soon");
}

#[tokio::test]
async fn a_rotation_is_no_end_and_the_rotated_session_is_still_watched() {
    let server = redis().await;
    for store in ["memory", "redis"] {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let sessions = match store {
            "memory" => Sessions::builder(MemoryStore::new(), ring()),
            _ => Sessions::builder(RedisStore::new(patient(&server.url())), ring()),
        };
        let sessions = with(sessions.clock(clock.clone()));
        let (app, watches) = watched(&sessions);
        let mut browser = signed_in(&app, "acme", "ada").await;
        let former = browser.clone();
        let first = watch(&browser, &app, &watches).await;
        clock.advance(Duration::from_secs(3_600));
        browser.get("/me").await;
        assert_ne!(browser.cookie, former.cookie);
        let second = watch(&browser, &app, &watches).await;
        let third = watch(&former, &app, &watches).await;
        assert!(!first.has_ended() && !second.has_ended() && !third.has_ended(), "{store}");
        browser.post("/sign-out").await;
        ends(first).await;
        ends(second).await;
        ends(third).await;
    }
}

#[tokio::test]
async fn an_end_that_nobody_heard_is_found_when_the_connection_is_back() {
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    let (here, watches) = watched(&on_redis(&format!("redis://{}", proxy.addr())));
    let there = shop(&on_redis(&server.url()));
    let browser = signed_in(&there, "acme", "ada").await;
    let mine = watch(&browser, &here, &watches).await;
    proxy.cut().await;
    browser.on(&there).send_only("POST", "/sign-out", "").await;
    assert!(!mine.has_ended());
    proxy.heal().await;
    ends(mine).await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_session_is_noticed_and_a_forgotten_watch_costs_nothing() {
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let sessions =
        with(Sessions::builder(MemoryStore::with_clock(clock.clone()), ring()).clock(clock.clone()));
    let (app, watches) = watched(&sessions);
    let browser = signed_in(&app, "acme", "ada").await;
    drop(watch(&browser, &app, &watches).await);
    let mine = watch(&browser, &app, &watches).await;
    // Whoever listens has had its first look.
    tokio::time::sleep(Duration::from_secs(1)).await;
    clock.advance(Duration::from_secs(31 * 60));
    ends(mine).await;
    // Whoever listened has stopped; the next watch is told all the same.
    let browser = signed_in(&app, "acme", "ada").await;
    let mine = watch(&browser, &app, &watches).await;
    browser.send_only("POST", "/sign-out", "").await;
    ends(mine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_closes_what_is_open_on_other_nodes_at_once() {
    let rounds = if full() { 1_000 } else { 20 };
    let server = redis().await;
    let nodes: Vec<(Router, Watches)> = (0..3).map(|_| watched(&on_redis(&server.url()))).collect();
    let mut took = Vec::new();
    for round in 0..rounds {
        let browser = signed_in(&nodes[round % 3].0, "acme", "ada").await;
        let (app, watches) = &nodes[(round + 1) % 3];
        let mine = watch(&browser, app, watches).await;
        let start = Instant::now();
        browser.on(&nodes[(round + 2) % 3].0).send_only("POST", "/revoke/all", "").await;
        ends(mine).await;
        took.push(start.elapsed());
    }
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    evidence(
        "a revocation on one node closes a stream on another",
        &format!("{rounds} revocations"),
        &format!("p99 {p99:.1?}"),
    );
    assert!(!full() || p99 < Duration::from_millis(100), "{p99:?}");
    wait_until("all have ended", LONG, async || {
        common::live_keys(&server).await.iter().all(|key| !key.contains(":s:"))
    })
    .await;
}

#[tokio::test]
async fn a_user_of_redis_who_may_not_publish_changes_sessions_all_the_same() {
    let server = redis().await;
    let () = patient(&server.url())
        .query(cmd("ACL").arg(&["SETUSER", "app", "on", ">pw", "~*", "+@all", "resetchannels"]))
        .await
        .unwrap();
    let app = shop(&on_redis(&format!("redis://app:pw@{}", server.addr())));
    let mut browser = signed_in(&app, "acme", "ada").await;
    let other = signed_in(&app, "acme", "ada").await;
    assert_eq!(browser.post("/revoke/others").await.body, b"1");
    assert_eq!(other.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    assert!(browser.post("/sign-in/acme/ada").await.status.is_success());
    assert!(browser.post("/sign-out").await.status.is_success());
    assert_eq!(common::live_keys(&server).await, Vec::<String>::new());
}
