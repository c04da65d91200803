//! What handlers and stores do to a session: closures that use it or panic, removals that fail.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::post};
use common::{Browser, CART, LOCALE, NOTES, VIEWS, hooked::Flaky, on_memory, shop, signed_in};
use scalekit_core::{ErrorKind, Principal, Result};
use scalekit_session::{Applied, Field, Session};

/// One request with this handler, then what the session holds.
async fn after<F, Fut>(handler: F) -> (StatusCode, serde_json::Value)
where
    F: Fn(Session) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let sessions = on_memory();
    let extra = Router::new().route("/do", post(move |session: Session| handler(session)));
    let app = shop(&sessions).merge(extra.layer(sessions.layer()));
    let mut browser = signed_in(&app, "acme", "ada").await;
    let status = browser.post("/do").await.status;
    (status, browser.get("/all").await.json())
}

#[tokio::test]
async fn a_closure_may_use_its_session() {
    let (status, all) = after(async |session: Session| {
        let inner = session.clone();
        session
            .update(NOTES, move |notes| {
                inner.incr(VIEWS, 1).unwrap();
                inner.add(CART, "tea", 2).unwrap();
                notes.push("seen".to_owned());
            })
            .await?;
        // Each of these looks through the closure.
        assert_eq!(session.get(NOTES).await?.unwrap(), ["seen"]);
        // It has run for the update and for the read; what it asks in the commit is dropped.
        assert_eq!((session.counter_map(CART).await?["tea"], session.counter(VIEWS).await?), (4, 2));
        Ok(())
    })
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&all["notes"], &all["views"]), (&serde_json::json!(["seen"]), &serde_json::json!(2)));
}

#[tokio::test]
async fn a_closure_that_panics_leaves_the_session_usable_and_its_field_alone() {
    let (status, all) = after(async |session: Session| {
        session.set(LOCALE, &"de".to_owned())?;
        let panicking = session.update(LOCALE, |_| panic!("the closure panics"));
        let caught = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(panicking)).await;
        assert!(caught.is_err());
        session.incr(VIEWS, 1)?;
        assert_eq!(session.get(LOCALE).await?.as_deref(), Some("de"));
        Ok(())
    })
    .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&all["locale"], &all["views"]), (&serde_json::json!("de"), &serde_json::json!(1)));
}

#[tokio::test]
async fn a_closure_starts_over_when_its_field_was_set_meanwhile_and_gives_up() {
    let (status, all) = after(async |session: Session| {
        const OTHER: Field<u32> = Field::new("other");
        session.set(OTHER, &10)?;
        let (inner, runs) = (session.clone(), AtomicU32::new(0));
        let value = session
            .update(OTHER, move |value| {
                if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                    inner.set(OTHER, &20).unwrap();
                }
                *value += 1;
            })
            .await?;
        assert_eq!(value, 21, "what was set meanwhile is lost");
        let (inner, runs) = (session.clone(), AtomicU32::new(0));
        let stubborn = move |value: &mut u32| {
            inner.set(OTHER, &(100 + runs.fetch_add(1, Ordering::Relaxed))).unwrap();
            *value += 1;
        };
        assert_eq!(session.update(OTHER, stubborn).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(session.get(OTHER).await?, Some(107));
        session.set(LOCALE, &"end".to_owned())
    })
    .await;
    assert_eq!((status, &all["locale"]), (StatusCode::OK, &serde_json::json!("end")));
}

#[tokio::test(start_paused = true)]
async fn another_users_session_that_was_signed_in_over_is_removed_in_the_background() {
    let store = Flaky::new(4);
    let app = shop(&store.store.sessions());
    let mut browser = signed_in(&app, "acme", "ada").await;
    let ada = browser.clone();
    let answer = browser.post("/sign-in/acme/bob").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "the sign-in itself stands");
    assert_eq!(ada.send_only("GET", "/me", "").await.status, StatusCode::OK, "the attack missed");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(store.tried.load(Ordering::SeqCst), 5);
    assert_eq!(ada.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn removals_are_tried_again_within_bounds_and_a_guests_old_id_is_nobody() {
    let store = Flaky::new(u32::MAX);
    let app = shop(&store.store.sessions());
    let mut guests = Vec::new();
    for _ in 0..300 {
        let mut browser = Browser::new(&app);
        browser.post("/cart/tea/1").await;
        guests.push(browser.clone());
        assert_eq!(browser.post("/sign-in/acme/ada").await.status, StatusCode::NO_CONTENT);
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(store.tried.load(Ordering::SeqCst), 300 + 256 * 8);
    for guest in &mut guests {
        assert_eq!(guest.get("/me").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(guest.get("/all").await.json()["user"], serde_json::Value::Null);
    }
    // The room is free again.
    store.failures.store(1, Ordering::SeqCst);
    guests[0].post("/sign-in/acme/ada").await;
    let before = store.tried.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.tried.load(Ordering::SeqCst), before + 1);
    assert_eq!(guests[0].post("/views").await.cookies().len(), 0);
}

#[tokio::test]
async fn what_is_taken_is_neither_anothers_nor_lost_for_being_unreadable() {
    const UNREADABLE: Field<u64> = Field::new("locale");
    let (status, all) = after(async |session: Session| {
        session.set(LOCALE, &"de".to_owned())?;
        assert_eq!(session.commit_now().await?, Applied::Done);
        let refused = session.take(UNREADABLE).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
        Ok(())
    })
    .await;
    assert_eq!((status, &all["locale"]), (StatusCode::OK, &serde_json::json!("de")));

    let (status, _) = after(async |session: Session| {
        session.set(LOCALE, &"de".to_owned())?;
        assert_eq!(session.commit_now().await?, Applied::Done);
        session.sign_in(&Principal::user("bob").tenant("acme"), "another").await?;
        assert_eq!(session.take(LOCALE).await?, None, "it was ada's");
        session.sign_out().await?;
        assert_eq!(session.take(LOCALE).await?, None, "it is nobody's");
        Ok(())
    })
    .await;
    assert_eq!(status, StatusCode::OK);
}
