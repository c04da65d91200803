//! What is shown while the store is away: a copy that changes nothing, for so long and no longer.
#![cfg(all(feature = "redis", feature = "stale"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, http::StatusCode, routing::get};
use common::{Browser, CART, VIEWS, hooked::Hooked, ring, shop, signed_in, with};
use scalekit_core::{Error, ErrorKind, Result};
use scalekit_session::{MaybeSession, Sessions};
use serde_json::{Value, json};

const AGE: Duration = Duration::from_secs(30);

/// A shop, and the switch that takes its store away.
fn open(stale_for: Option<Duration>) -> (Router, Arc<AtomicBool>) {
    let away = Arc::new(AtomicBool::new(false));
    let is_away = away.clone();
    let store = Hooked::new(move |_| {
        let is_away = is_away.load(Ordering::SeqCst);
        async move { if is_away { Err(Error::new(ErrorKind::Unavailable, "away")) } else { Ok(()) } }
    });
    let mut builder = Sessions::builder(store, ring()).soft_size(200);
    if let Some(age) = stale_for {
        builder = builder.stale_for(age);
    }
    let sessions = with(builder);
    let basket = Router::new().route("/basket", get(basket)).layer(sessions.layer());
    (shop(&sessions).merge(basket), away)
}

async fn basket(session: MaybeSession) -> Result<Json<Value>> {
    Ok(Json(match session {
        MaybeSession::Available(session) => json!({ "now": session.counter_map(CART).await? }),
        MaybeSession::Stale(copy) => {
            assert!(copy.age() <= AGE);
            json!({
                "then": copy.counter_map(CART)?,
                "views": copy.counter(VIEWS)?,
                "user": copy.user().map(|user| user.id().to_owned()),
            })
        }
        MaybeSession::Unavailable(_) => json!("unavailable"),
    }))
}

async fn shown(browser: &Browser) -> Value {
    let answer = browser.send_only("GET", "/basket", "").await;
    assert_eq!((answer.status, answer.cookies().len()), (StatusCode::OK, 0), "{answer:?}");
    assert_eq!(answer.headers["vary"], "cookie", "it depends on who asks");
    answer.json()
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_shown_for_so_long_and_to_its_visitor_alone() {
    let (app, away) = open(Some(AGE));
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/cart/tea/2").await;
    assert_eq!(shown(&browser).await, json!({ "now": { "tea": 2 } }));
    let mut other = signed_in(&app, "acme", "bob").await;
    other.post("/cart/tea/1").await;
    away.store(true, Ordering::SeqCst);
    let copy = json!({ "then": { "tea": 2 }, "views": 0, "user": "ada" });
    assert_eq!(shown(&browser).await, copy);
    assert_eq!(shown(&other).await, "unavailable", "it was written and not read here");
    for path in ["/me", "/all"] {
        let answer = browser.send_only("GET", path, "").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: nothing is decided by a copy");
    }
    tokio::time::advance(AGE - Duration::from_secs(1)).await;
    assert_eq!(shown(&browser).await, copy);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(shown(&browser).await, "unavailable");
    away.store(false, Ordering::SeqCst);
    assert_eq!(shown(&browser).await, json!({ "now": { "tea": 2 } }));
}

#[tokio::test(start_paused = true)]
async fn what_was_changed_or_ended_here_is_not_shown_as_it_was() {
    for (path, store_answers) in [
        ("/cart/tea/1", true),
        ("/sign-out", true),
        ("/revoke/all", true),
        ("/sign-in/acme/bob", true),
        ("/cart/tea/1", false),
    ] {
        let (app, away) = open(Some(AGE));
        let mut browser = signed_in(&app, "acme", "ada").await;
        browser.post("/cart/tea/2").await;
        shown(&browser).await;
        away.store(!store_answers, Ordering::SeqCst);
        browser.send_only("POST", path, "").await;
        away.store(true, Ordering::SeqCst);
        assert_eq!(shown(&browser).await, "unavailable", "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_copied_unless_asked_for_nor_what_is_large() {
    for (age, field) in [(None, 1), (Some(AGE), 500)] {
        let (app, away) = open(age);
        let mut browser = signed_in(&app, "acme", "ada").await;
        browser.send("POST", "/field/1", &"v".repeat(field)).await;
        shown(&browser).await;
        away.store(true, Ordering::SeqCst);
        assert_eq!(shown(&browser).await, "unavailable");
    }
}
