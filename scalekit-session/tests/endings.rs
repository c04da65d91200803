//! What is left of a session that has ended, and what late responses do.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use common::{Browser, on_memory, ring, shop, signed_in, with};
use scalekit_core::ManualClock;
use scalekit_session::{MemoryStore, Sessions};
use serde_json::json;

#[tokio::test]
async fn sign_out_takes_the_cookie_and_late_writers_change_nothing() {
    let store = MemoryStore::new();
    let sessions = with(Sessions::builder(store.clone(), ring()));
    let app = shop(&sessions);
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/cart/tea/2").await;
    let late = browser.clone();
    let out = browser.post("/sign-out").await;
    assert!(out.cookies()[0].contains("Max-Age=0"));
    assert!(store.is_empty());
    for path in ["/views", "/note/x", "/cart/tea/1", "/locale/de"] {
        let answer = late.send_only("POST", path, "").await;
        assert!(answer.status.is_success(), "the handler's answer was replaced: {answer:?}");
        assert!(answer.cookies().is_empty(), "a late response touched the cookie: {answer:?}");
    }
    assert!(store.is_empty(), "a late writer brought a session back");
    assert_eq!(sessions.metrics().gone, 4);
    // Without a cookie there is nothing to take away; with a foreign one there is.
    assert!(Browser::new(&app).post("/sign-out").await.cookies().is_empty());
    let mut foreign = Browser::new(&app);
    foreign.cookie = Some("id=foreign".to_owned());
    assert_eq!(foreign.post("/sign-out").await.cookies().len(), 1);
}

#[tokio::test]
async fn a_guest_whose_session_expired_gets_a_new_one() {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let store = MemoryStore::with_clock(clock.clone());
    let app = shop(&with(Sessions::builder(store, ring()).clock(clock.clone())));
    for write in ["/note/b", "/locale/b", "/views"] {
        let mut browser = Browser::new(&app);
        browser.post("/note/a").await;
        clock.advance(Duration::from_secs(31 * 60));
        assert!(browser.get("/all").await.cookies().is_empty());
        assert_eq!(browser.post(write).await.cookies().len(), 1, "{write} was dropped");
        assert_ne!(browser.get("/all").await.json()["notes"], json!(["a"]));
    }
}

#[tokio::test]
async fn a_user_whose_session_is_over_is_a_guest_again_and_not_while_a_late_response_may_come() {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let store = MemoryStore::with_clock(clock.clone());
    let app = shop(&with(Sessions::builder(store.clone(), ring()).clock(clock.clone())));
    let mut idle = signed_in(&app, "acme", "ada").await;
    clock.advance(Duration::from_secs(31 * 60));
    assert_eq!(idle.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(idle.post("/cart/tea/1").await.cookies().len(), 1, "who was signed in can keep nothing");
    assert_eq!(idle.post("/sign-in/acme/ada").await.status, StatusCode::NO_CONTENT);
    assert_eq!(idle.get("/all").await.json()["cart"]["tea"], 1);
    // However it was ended, a response of before may be on its way: for a minute nothing is begun.
    for end in ["/sign-out", "/revoke/all", "/sign-in/acme/bob"] {
        let mut ended = signed_in(&app, "acme", "ada").await;
        ended.clone().post(end).await;
        clock.advance(Duration::from_secs(58));
        assert!(ended.post("/cart/tea/1").await.cookies().is_empty(), "{end}");
        clock.advance(Duration::from_secs(3));
        assert_eq!(ended.post("/cart/tea/1").await.cookies().len(), 1, "{end}");
    }
}

#[tokio::test]
async fn a_late_sign_out_takes_no_newer_cookie() {
    let app = shop(&on_memory());
    let mut browser = signed_in(&app, "acme", "ada").await;
    let late = browser.clone();
    browser.post("/sign-out").await;
    browser.post("/sign-in/acme/ada").await;
    assert!(late.send_only("POST", "/sign-out", "").await.cookies().is_empty());
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_late_response_of_the_guest_does_not_undo_a_sign_in() {
    let app = shop(&on_memory());
    let mut browser = Browser::new(&app);
    browser.post("/cart/tea/2").await;
    let late = browser.clone();
    browser.post("/sign-in/acme/ada").await;
    for path in ["/views", "/note/x", "/cart/tea/1", "/locale/de"] {
        let answer = late.send_only("POST", path, "").await;
        assert!(answer.status.is_success() && answer.cookies().is_empty(), "{path}: {answer:?}");
    }
    let guest = {
        let mut guest = Browser::new(&app);
        guest.post("/views").await;
        guest
    };
    let late = guest.clone();
    guest.clone().post("/sign-out").await;
    assert!(late.send_only("POST", "/views", "").await.cookies().is_empty());
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}
