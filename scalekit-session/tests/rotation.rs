//! New secrets without a sign-in, and with one: nobody is signed out by it, nobody gets in by an old one.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, routing::post};
use common::{
    Browser, CART, LOCALE, LONG, VIEWS, on_memory, on_redis, patient, redis, ring, shop, signed_in, with,
};
use scalekit_core::{KeyRing, ManualClock, Principal, Result};
use scalekit_session::{
    Applied, CommitOn, MemoryStore, OnReuse, RedisStore, Reuse, Session, Sessions, SessionsBuilder, SignIn,
};
use scalekit_testkit::{Proxy, at_once, drop_at_each_await, wait_until};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3_600);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(1_800_000_000_000))
}

/// Sessions of a memory that has the same time as they have.
fn timed(clock: &Arc<ManualClock>) -> SessionsBuilder {
    let store = MemoryStore::with_clock(clock.clone());
    Sessions::builder(store, ring()).clock(clock.clone()).idle(2 * HOUR)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_across_a_rotation_are_all_the_users() {
    let server = redis().await;
    for round in 0..20 {
        let clock = clock();
        let node =
            || with(Sessions::builder(RedisStore::new(patient(&server.url())), ring()).clock(clock.clone()));
        let sessions: Vec<Sessions> = (0..3).map(|_| node()).collect();
        let apps: Vec<Router> = sessions.iter().map(shop).collect();
        let ada = format!("ada-{round}");
        let browser = signed_in(&apps[0], "acme", &ada).await;
        assert!(browser.send_only("GET", "/me", "").await.cookies().is_empty(), "too early");
        clock.advance(HOUR);
        let answers = at_once(50, |client| {
            let browser = browser.on(&apps[client % 3]);
            let path = ["/me", "/all", "/note/x", "/views"][client % 4];
            async move { browser.send_only(if client % 4 < 2 { "GET" } else { "POST" }, path, "").await }
        })
        .await;
        let mut given = HashSet::new();
        for answer in &answers {
            assert!(answer.status.is_success(), "round {round}: {answer:?}");
            given.extend(answer.cookies());
        }
        assert_eq!(given.len(), 1, "parallel rotations give the same secret");
        assert_eq!(sessions.iter().map(|one| one.metrics().rotations).sum::<u64>(), 1);
        let mut new = browser.clone();
        answers.iter().for_each(|answer| new.keep(answer));
        assert_ne!(new.cookie, browser.cookie);
        let all = new.get("/all").await.json();
        assert_eq!((&all["user"], &all["views"]), (&json!(["acme", ada]), &json!(12)), "round {round}");
        assert_eq!(all["notes"].as_array().unwrap().len(), 12);
        assert_eq!(new.get("/sessions").await.json().as_array().unwrap().len(), 1, "its index names it once");
    }
}

#[tokio::test]
async fn whoever_never_gets_the_new_secret_stays_signed_in_by_the_old_one() {
    let clock = clock();
    let sessions = with(timed(&clock));
    let app = shop(&sessions);
    let lost = signed_in(&app, "acme", "ada").await;
    for hours in 1..10 {
        clock.advance(HOUR);
        // The answers never arrive. Each offers the new secret again.
        let answer = lost.send_only("GET", "/me", "").await;
        assert_eq!((answer.status, answer.cookies().len()), (StatusCode::OK, 1), "after {hours} h");
        assert_eq!(lost.send_only("POST", "/views", "").await.status, StatusCode::OK);
    }
    assert_eq!(sessions.metrics().rotations, 1);
    let mut found = lost.clone();
    found.get("/me").await;
    assert_eq!(found.get("/all").await.json()["views"], 9);
}

#[tokio::test]
async fn an_old_secret_after_the_grace_is_nobody_and_reported() {
    for (on_reuse, lives) in [(OnReuse::Report, true), (OnReuse::End, false)] {
        let clock = clock();
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let hears = told.clone();
        let hear = move |reuse: &Reuse| hears.lock().unwrap().push(reuse.clone());
        let sessions = with(timed(&clock).on_reuse(on_reuse).when_reused(hear));
        let app = shop(&sessions);
        let mut user = signed_in(&app, "acme", "ada").await;
        let thief = user.clone();
        clock.advance(HOUR);
        user.get("/me").await;
        assert_ne!(user.cookie, thief.cookie);
        assert_eq!(user.get("/me").await.status, StatusCode::OK);
        clock.advance(Duration::from_secs(19));
        let answer = thief.send_only("GET", "/me", "").await;
        assert_eq!(answer.status, StatusCode::OK, "a request that was under way");
        assert!(answer.cookies().is_empty(), "the new secret is given to whoever has the old one");
        clock.advance(Duration::from_secs(2));
        assert_eq!(sessions.metrics().reused, 0);
        assert_eq!(thief.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
        assert!(
            thief.send_only("POST", "/views", "").await.cookies().is_empty(),
            "a new session for a thief"
        );
        assert_eq!(sessions.metrics().reused, 1);
        let [reuse] = told.lock().unwrap().clone().try_into().unwrap();
        assert_eq!(reuse.user, Some(Principal::user("ada").tenant("acme")));
        if lives {
            assert_eq!(reuse.id.as_deref(), user.get("/sessions").await.json()[0]["id"].as_str());
            assert_eq!(user.get("/me").await.status, StatusCode::OK);
        } else {
            let user = &user;
            wait_until("the session has ended", LONG, async || {
                user.send_only("GET", "/me", "").await.status == StatusCode::UNAUTHORIZED
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_failure_at_any_point_of_a_rotation_leaves_a_secret_that_works() {
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    proxy.set_delay(Duration::from_millis(1));
    let clock = clock();
    let url = format!("redis://{}", proxy.addr());
    let app = shop(&with(Sessions::builder(RedisStore::new(patient(&url)), ring()).clock(clock.clone())));
    let mut fresh = Vec::new();
    for guest in 0..60 {
        let mut browser = Browser::new(&app);
        browser.post("/cart/tea/2").await;
        if guest % 2 == 0 {
            browser.post("/sign-in/acme/ada").await;
            browser.get("/me").await;
        }
        fresh.push(browser);
    }
    clock.advance(HOUR);
    let fresh = std::cell::RefCell::new(fresh);
    let current = std::cell::RefCell::new(None::<Browser>);
    for _user_then_guest in 0..2 {
        let points = drop_at_each_await(
            || {
                let browser = fresh.borrow_mut().pop().expect("no more than 30 awaits");
                *current.borrow_mut() = Some(browser.clone());
                async move { browser.send_only("GET", "/all", "").await }
            },
            async |_| {
                let browser = current.borrow().clone().unwrap();
                let seen = browser.send_only("GET", "/all", "").await.json();
                assert_eq!(seen["cart"]["tea"], 2, "neither secret opens the session: {seen}");
            },
        )
        .await;
        println!("dropped at {points} awaits");
        assert!(points >= 2, "{points}");
    }
    // A handler that fails rotates nothing.
    let failing = fresh.borrow_mut().pop().unwrap();
    assert!(failing.send_only("POST", "/fails/bob", "").await.cookies().is_empty());
    assert_eq!(failing.send_only("GET", "/all", "").await.json()["cart"]["tea"], 2);
}

#[tokio::test]
async fn a_guest_whose_sign_in_was_lost_still_has_its_basket_and_nothing_of_the_users() {
    let clock = clock();
    let app = shop(&with(timed(&clock)));
    let mut guest = Browser::new(&app);
    guest.post("/cart/tea/2").await;
    let (planted, lost) = (guest.clone(), guest.send_only("POST", "/sign-in/acme/ada", "").await);
    assert_eq!(lost.status, StatusCode::NO_CONTENT);
    for _ in 0..2 {
        let seen = planted.send_only("GET", "/all", "").await.json();
        assert_eq!((&seen["cart"], &seen["user"]), (&json!({"tea": 2}), &json!(null)));
        assert_eq!(planted.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
        clock.advance(Duration::from_secs(14));
    }
    // It signs in again, and has its basket.
    guest.post("/sign-in/acme/ada").await;
    assert_eq!(guest.get("/all").await.json()["cart"], json!({"tea": 2}));
    clock.advance(Duration::from_secs(3));
    let seen = planted.send_only("GET", "/all", "").await.json();
    assert_eq!((&seen["cart"], &seen["user"]), (&json!({}), &json!(null)), "half a minute is over");
}

#[tokio::test]
async fn a_rotation_is_followed_while_the_ring_changes() {
    let (old, new) = (("old", [1; 32]), ("new", [2; 32]));
    let (clock, store) = (clock(), MemoryStore::new());
    let node = |keys: &[(&str, [u8; 32])]| {
        let ring = KeyRing::from_keys(keys.iter().copied()).unwrap();
        shop(&with(Sessions::builder(store.clone(), ring).clock(clock.clone())))
    };
    let [first, second] = [node(&[old, new]), node(&[new, old])];
    let mut browser = signed_in(&first, "acme", "ada").await;
    let behind = browser.clone();
    clock.advance(HOUR);
    browser.get("/me").await;
    // Another node signs with the other key, and finds the same successor.
    let answer = behind.on(&second).send_only("GET", "/me", "").await;
    assert_eq!((answer.status, answer.cookies().len()), (StatusCode::OK, 1));
    let mut found = behind.clone();
    found.keep(&answer);
    assert_eq!(found.on(&first).send_only("GET", "/me", "").await.status, StatusCode::OK);
    assert_eq!(store.len(), 1);
}

/// One more route in the shop.
async fn with_route<F, Fut>(sessions: &Sessions, handler: F) -> Browser
where
    F: Fn(Session) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<StatusCode>> + Send,
{
    let extra = Router::new().route("/do", post(move |session: Session| handler(session)));
    signed_in(&shop(sessions).merge(extra.layer(sessions.layer())), "acme", "ada").await
}

#[tokio::test]
async fn a_renewal_kills_the_old_secret_and_keeps_all_else() {
    let server = redis().await;
    for sessions in [on_memory(), on_redis(&server.url())] {
        let mut browser = with_route(&sessions, async |session: Session| {
            session.renew()?;
            session.incr(VIEWS, 1)?;
            Ok(StatusCode::OK)
        })
        .await;
        let before = browser.get("/all").await.json();
        let old = browser.clone();
        assert_eq!(browser.post("/do").await.status, StatusCode::OK);
        assert_ne!(browser.cookie, old.cookie);
        assert_eq!(old.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
        let after = browser.get("/all").await.json();
        assert_eq!((&after["lineage"], &after["views"]), (&before["lineage"], &json!(1)));
        assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_was_committed_at_once_is_there_and_its_cookie_comes_with_the_response() {
    let sessions = on_memory();
    let mut browser = with_route(&sessions, async |session: Session| {
        session.incr(VIEWS, 1)?;
        assert_eq!(session.commit_now().await?, Applied::Done);
        assert_eq!(session.counter(VIEWS).await?, 1);
        session.sign_in(&Principal::user("bob").tenant("acme"), "second").await?;
        assert_eq!(session.commit_now().await?, Applied::Done);
        assert_eq!(session.user().await?.unwrap().id(), "bob");
        session.set(LOCALE, &"de".to_owned())?;
        // The handler fails: what was committed stays, what was not does not.
        Ok(StatusCode::INTERNAL_SERVER_ERROR)
    })
    .await;
    let ada = browser.clone();
    assert_eq!(browser.post("/do").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    let all = browser.get("/all").await.json();
    assert_eq!((&all["user"], &all["locale"]), (&json!(["acme", "bob"]), &json!(null)));
    assert_eq!(ada.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_commit_that_fails_later_does_not_keep_back_the_cookie_of_an_earlier_one() {
    let sessions = on_memory();
    let mut browser = with_route(&sessions, async |session: Session| {
        session.sign_in(&Principal::user("bob").tenant("acme"), "second").await?;
        assert_eq!(session.commit_now().await?, Applied::Done);
        session.set(LOCALE, &"v".repeat(100_000))?;
        Ok(StatusCode::OK)
    })
    .await;
    assert_eq!(browser.post("/do").await.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(browser.get("/all").await.json()["user"], json!(["acme", "bob"]), "signed out by it");
}

#[tokio::test]
async fn a_service_may_commit_after_a_failure() {
    for (on, views) in [(CommitOn::Below500, 0), (CommitOn::Always, 1)] {
        let sessions = with(Sessions::builder(MemoryStore::new(), ring()).commit_on(on));
        let mut browser = with_route(&sessions, async |session: Session| {
            session.incr(VIEWS, 1)?;
            Ok(StatusCode::BAD_GATEWAY)
        })
        .await;
        assert_eq!(browser.post("/do").await.status, StatusCode::BAD_GATEWAY);
        assert_eq!(browser.get("/all").await.json()["views"], views, "{on:?}");
    }
}

#[tokio::test]
async fn a_sign_in_merges_what_the_guest_held_and_has_its_own_deadlines() {
    let clock = clock();
    let sessions = with(timed(&clock));
    let handler = async |session: Session| {
        let sign_in = SignIn::new(&Principal::user("ada").tenant("acme"))
            .idle(Duration::from_secs(300))
            .absolute(Duration::from_secs(1_000))
            .merging(|guest| {
                let tea = guest.counter_map(CART)?.get("tea").copied().unwrap_or_default();
                guest.set_member(CART, "tea", tea + 10)?;
                guest.remove(LOCALE);
                Ok(())
            });
        session.sign_in_with(sign_in).await?;
        Ok(StatusCode::OK)
    };
    let mut browser = with_route(&sessions, handler).await;
    browser.post("/sign-out").await;
    browser.post("/cart/tea/2").await;
    browser.post("/locale/de").await;
    assert_eq!(browser.post("/do").await.status, StatusCode::OK);
    let all = browser.get("/all").await.json();
    assert_eq!((&all["cart"], &all["locale"]), (&json!({"tea": 12}), &json!(null)));
    for _ in 0..3 {
        clock.advance(Duration::from_secs(290));
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    clock.advance(Duration::from_secs(131));
    assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED, "its own absolute deadline");
    let mut idle = with_route(&sessions, handler).await;
    idle.post("/do").await;
    clock.advance(Duration::from_secs(301));
    assert_eq!(idle.get("/me").await.status, StatusCode::UNAUTHORIZED, "its own idle deadline");
}

#[tokio::test]
async fn only_a_sign_in_is_an_authentication() {
    let clock = clock();
    let sessions = with(timed(&clock));
    let mut browser = with_route(&sessions, async |session: Session| {
        let recent = session.reauthenticated_within(Duration::from_secs(300)).await?;
        Ok(if recent { StatusCode::OK } else { StatusCode::FORBIDDEN })
    })
    .await;
    clock.advance(Duration::from_secs(300));
    assert_eq!(browser.post("/do").await.status, StatusCode::OK);
    clock.advance(HOUR);
    // A new secret is no sign-in.
    let old = browser.cookie.clone();
    assert_eq!(browser.post("/do").await.status, StatusCode::FORBIDDEN);
    assert_ne!(browser.cookie, old);
    assert_eq!(browser.post("/do").await.status, StatusCode::FORBIDDEN);
    browser.post("/sign-in/acme/ada").await;
    assert_eq!(browser.post("/do").await.status, StatusCode::OK);
    browser.post("/sign-out").await;
    assert_eq!(browser.post("/do").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn one_device_is_revoked_by_its_id() {
    let sessions = on_memory();
    let revoke = Router::new().route(
        "/revoke/{id}",
        post(async |session: Session, axum::extract::Path(id): axum::extract::Path<String>| {
            session.revoke(&id).await.map(|ended| ended.to_string())
        }),
    );
    let app = shop(&sessions).merge(revoke.layer(sessions.layer()));
    let mut here = signed_in(&app, "acme", "ada").await;
    let (mut there, mut bob) = (signed_in(&app, "acme", "ada").await, signed_in(&app, "acme", "bob").await);
    let id = |sessions: &serde_json::Value, current: bool| {
        let one = sessions.as_array().unwrap().iter().find(|one| one["current"] == current).unwrap();
        one["id"].as_str().unwrap().to_owned()
    };
    let listed = here.get("/sessions").await.json();
    let theirs = id(&bob.get("/sessions").await.json(), true);
    assert_eq!(here.post(&format!("/revoke/{theirs}")).await.body, b"false", "another user's");
    assert_eq!(here.post(&format!("/revoke/{}", id(&listed, false))).await.body, b"true");
    assert_eq!(there.get("/me").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bob.get("/me").await.status, StatusCode::OK);
    assert_eq!(here.post(&format!("/revoke/{}", id(&listed, true))).await.body, b"true");
    assert_eq!((here.cookie.clone(), here.get("/me").await.status), (None, StatusCode::UNAUTHORIZED));
}
