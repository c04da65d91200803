//! Requests that are under way while another one gives their session a new secret, or its user another session.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::sync::Arc;

use axum::{Router, http::StatusCode, routing::post};
use common::{
    Answer, Browser, CART, VIEWS, signed_in,
    slow::{HOUR, Shop},
};
use scalekit_core::{Principal, Result};
use scalekit_session::{Applied, Current, Session};
use serde_json::json;

async fn nothing(_: Session) -> Result<()> {
    Ok(())
}

async fn reads(session: Session) -> Result<()> {
    session.user().await.map(drop)
}

async fn writes(session: Session) -> Result<()> {
    session.incr(VIEWS, 1)
}

async fn reads_and_writes(session: Session) -> Result<()> {
    assert_eq!(session.user().await?.unwrap().id(), "ada");
    session.incr(VIEWS, 1)
}

async fn updates(session: Session) -> Result<()> {
    session.update(common::NOTES, |notes| notes.push("late".to_owned())).await?;
    session.incr(VIEWS, 1)
}

#[tokio::test(start_paused = true)]
async fn a_request_goes_on_whatever_is_rotated_meanwhile() {
    for (read_before, shop) in [
        (false, Shop::open(nothing, writes)),
        (false, Shop::open(nothing, reads_and_writes)),
        (false, Shop::open(nothing, updates)),
        (true, Shop::open(reads, writes)),
        (true, Shop::open(reads, updates)),
    ] {
        let mut browser = signed_in(&shop.app, "acme", "ada").await;
        let slow = shop.slow(&browser).await;
        shop.rotate(&mut browser).await;
        shop.rotate(&mut browser).await;
        let answer = shop.end(slow).await;
        assert_eq!(
            (answer.status, answer.cookies().len()),
            (StatusCode::OK, 0),
            "read before: {read_before}"
        );
        assert_eq!(browser.get("/all").await.json()["views"], 1, "read before: {read_before}");
        assert_eq!(shop.sessions.metrics().reused, 0, "taken for a thief");
        // Somebody who comes with the old secret now is one.
        let mut thief = signed_in(&shop.app, "acme", "bob").await;
        let kept = thief.clone();
        shop.rotate(&mut thief).await;
        assert_eq!(kept.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(shop.sessions.metrics().reused, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_beside_a_request_is_no_theft_and_loses_no_write_of_one_that_has_read() {
    for (shop, views) in
        [(Shop::open(nothing, writes), 0), (Shop::open(reads, writes), 1), (Shop::open(reads, updates), 1)]
    {
        let mut browser = signed_in(&shop.app, "acme", "ada").await;
        let slow = shop.slow(&browser).await;
        browser.post("/renew").await;
        let answer = shop.end(slow).await;
        assert_eq!((answer.status, answer.cookies().len()), (StatusCode::OK, 0));
        assert_eq!(browser.get("/all").await.json()["views"], views);
        assert_eq!(shop.sessions.metrics().reused, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_guests_late_write_does_not_take_the_place_of_a_renewed_session() {
    let shop = Shop::open(nothing, writes);
    let mut guest = Browser::new(&shop.app);
    guest.post("/cart/tea/2").await;
    let slow = shop.slow(&guest).await;
    guest.post("/renew").await;
    assert!(shop.end(slow).await.cookies().is_empty());
    assert_eq!(guest.get("/all").await.json()["cart"]["tea"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_follows_a_rotation_whose_answer_was_lost() {
    let shop = Shop::open(nothing, nothing);
    let mut browser = signed_in(&shop.app, "acme", "ada").await;
    shop.pass(HOUR).await;
    let lost = browser.send_only("GET", "/me", "").await;
    assert_eq!(lost.cookies().len(), 1);
    let old = browser.clone();
    assert_eq!(browser.post("/renew").await.cookies().len(), 1);
    let mut found = browser.clone();
    found.keep(&lost);
    for dead in [old, found] {
        assert_eq!(dead.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn to_revoke_the_others_keeps_the_own_session_whatever_its_secret() {
    let shop = Shop::open(reads, async |session: Session| {
        assert_eq!(session.revoke_all(Current::Kept).await?, 1);
        Ok(())
    });
    let mut browser = signed_in(&shop.app, "acme", "ada").await;
    let mut other = signed_in(&shop.app, "acme", "ada").await;
    let slow = shop.slow(&browser).await;
    shop.pass(HOUR).await;
    browser.get("/me").await;
    assert_eq!(shop.end(slow).await.status, StatusCode::OK);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK, "signed out by its own click");
    assert_eq!(other.get("/me").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_late_response_hands_out_no_secret() {
    // One that came by the former secret before the new one was used, and answers when that is old.
    let shop = Shop::open(reads, nothing);
    let mut browser = signed_in(&shop.app, "acme", "ada").await;
    shop.pass(HOUR).await;
    let late = browser.clone();
    let rotated = browser.send_only("GET", "/me", "").await;
    assert_eq!(late.send_only("GET", "/me", "").await.cookies(), rotated.cookies(), "in time it does");
    let slow = shop.slow(&late).await;
    browser.keep(&rotated);
    shop.rotate(&mut browser).await;
    assert!(shop.end(slow).await.cookies().is_empty());
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    // One whose time to rotate had come, and another was first.
    let shop = Shop::open(reads, nothing);
    let mut browser = signed_in(&shop.app, "acme", "ada").await;
    shop.pass(HOUR).await;
    let slow = shop.slow(&browser).await;
    shop.rotate(&mut browser).await;
    assert!(shop.end(slow).await.cookies().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_device_keeps_its_id() {
    let shop = Shop::open(nothing, nothing);
    let mut browser = signed_in(&shop.app, "acme", "ada").await;
    let mut other = signed_in(&shop.app, "acme", "ada").await;
    let before = other.get("/sessions").await.json();
    shop.rotate(&mut browser).await;
    browser.post("/renew").await;
    let ids = |list: &serde_json::Value| {
        let mut ids: Vec<_> = list.as_array().unwrap().iter().map(|one| one["id"].to_string()).collect();
        ids.sort();
        ids
    };
    other.get("/sessions").await;
    assert_eq!(ids(&other.get("/sessions").await.json()), ids(&before));
    let current = browser.get("/sessions").await.json();
    assert_eq!(current.as_array().unwrap().iter().filter(|one| one["current"] == true).count(), 1);
}

/// What a handler does at `/slow` after it has signed `bob` in over what its browser had, in the same request.
async fn after_a_sign_in(
    browser: impl AsyncFn(&Shop) -> Browser,
    then: impl Fn(Session) -> futures_util::future::BoxFuture<'static, Result<()>> + Clone + Send + Sync + 'static,
) -> (Shop, Browser, Answer) {
    let shop = Shop::open(
        async |session: Session| {
            session.incr(VIEWS, 1)?;
            session.sign_in(&Principal::user("bob").tenant("acme"), "new").await
        },
        then,
    );
    let mut browser = browser(&shop).await;
    let slow = shop.slow(&browser).await;
    let answer = shop.end(slow).await;
    browser.keep(&answer);
    (shop, browser, answer)
}

#[tokio::test(start_paused = true)]
async fn after_a_sign_in_the_sessions_are_those_of_who_signed_in() {
    let given = async |shop: &Shop| {
        signed_in(&shop.app, "acme", "ada").await;
        signed_in(&shop.app, "acme", "bob").await;
        signed_in(&shop.app, "acme", "ada").await
    };
    let revoke = |current: Current| {
        move |session: Session| -> futures_util::future::BoxFuture<'static, Result<()>> {
            Box::pin(async move {
                assert_eq!(session.siblings().await?.len(), 1, "bob's other session");
                session.revoke_all(current).await.map(drop)
            })
        }
    };
    let (shop, mut browser, answer) = after_a_sign_in(given, revoke(Current::Kept)).await;
    assert_eq!((answer.status, answer.cookies().len()), (StatusCode::OK, 1));
    assert_eq!(browser.get("/all").await.json()["user"], json!(["acme", "bob"]));
    assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 1);
    let mut ada = signed_in(&shop.app, "acme", "ada").await;
    assert_eq!(ada.get("/sessions").await.json().as_array().unwrap().len(), 2, "another user's were revoked");

    let (_, mut browser, answer) = after_a_sign_in(given, revoke(Current::Included)).await;
    assert_eq!((answer.status, browser.cookie.clone()), (StatusCode::OK, None));
    assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);

    // The same user again: the session that is taken over is kept until it is.
    let again = async |shop: &Shop| {
        signed_in(&shop.app, "acme", "bob").await;
        let mut bob = signed_in(&shop.app, "acme", "bob").await;
        bob.post("/cart/tea/3").await;
        bob
    };
    let others = |session: Session| -> futures_util::future::BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            assert_eq!(session.revoke_all(Current::Kept).await?, 1);
            Ok(())
        })
    };
    let (_, mut browser, _) = after_a_sign_in(again, others).await;
    let all = browser.get("/all").await.json();
    assert_eq!((&all["cart"]["tea"], &all["views"]), (&json!(3), &json!(1)));
    assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_with_its_session() {
    for read_before in [true, false] {
        let kept = Arc::new(std::sync::Mutex::new(None::<Session>));
        let hold = kept.clone();
        let shop = Shop::open(nothing, nothing);
        let keep = move |session: Session| {
            let hold = hold.clone();
            async move {
                if read_before {
                    session.user().await?;
                }
                *hold.lock().unwrap() = Some(session);
                Ok::<_, scalekit_core::Error>(())
            }
        };
        let stream = Router::new().route("/stream", post(keep)).layer(shop.sessions.layer());
        let app = shop.app.clone().merge(stream);
        let mut browser = signed_in(&app, "acme", "ada").await;
        browser.send_only("POST", "/stream", "").await;
        let stream = kept.lock().unwrap().take().unwrap();
        for round in 1..3 {
            shop.rotate(&mut browser).await;
            stream.add(CART, "tea", 1).unwrap();
            assert_eq!(stream.commit_now().await.unwrap(), Applied::Done, "read before: {read_before}");
            assert_eq!(stream.counter_map(CART).await.unwrap()["tea"], round);
        }
        assert_eq!(shop.sessions.metrics().reused, 0);
        browser.post("/sign-out").await;
        stream.add(CART, "tea", 1).unwrap();
        assert_eq!(stream.commit_now().await.unwrap(), Applied::Gone);
        assert_eq!(stream.user().await.unwrap(), None);
    }
}
