//! Commits that a handler asks for: in parallel, dropped, unanswered; and what reads see meanwhile.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::post};
use common::{
    Browser, LOCALE, NOTES, VIEWS,
    hooked::{Hooked, Step, unanswered},
    on_memory, on_redis, redis, ring, shop, signed_in, with,
};
use futures_util::future::join_all;
use scalekit_core::{ErrorKind, Principal, Result};
use scalekit_session::{Applied, Session, Sessions};
use scalekit_testkit::Proxy;
use serde_json::json;
use tokio::sync::{Notify, Semaphore};

/// The shop, and what the test does to a session at `/do`.
fn with_route<F, Fut>(sessions: &Sessions, handler: F) -> Router
where
    F: Fn(Session) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let extra = Router::new().route("/do", post(move |session: Session| handler(session)));
    shop(sessions).merge(extra.layer(sessions.layer()))
}

/// A store that does what is asked and does not answer, so many times.
fn unanswering(call: &'static str, times: u32) -> Hooked {
    let left = AtomicU32::new(times);
    Hooked::new(move |step| {
        let lost = step == Step::Done(call)
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        async move { if lost { Err(unanswered()) } else { Ok(()) } }
    })
}

fn ada() -> Principal {
    Principal::user("ada").tenant("acme")
}

#[tokio::test]
async fn calls_at_the_same_time_lose_and_double_nothing() {
    let app = with_route(&on_memory(), async |session: Session| {
        let each = |number: usize| {
            let session = session.clone();
            async move {
                session.incr(VIEWS, 1)?;
                session.update(NOTES, move |notes| notes.push(number.to_string())).await?;
                tokio::task::yield_now().await;
                session.commit_now().await
            }
        };
        for outcome in join_all((0..20).map(each)).await {
            assert_eq!(outcome?, Applied::Done);
        }
        assert_eq!(session.counter(VIEWS).await?, 20);
        Ok(())
    });
    let mut browser = signed_in(&app, "acme", "ada").await;
    assert_eq!(browser.post("/do").await.status, StatusCode::OK);
    let all = browser.get("/all").await.json();
    assert_eq!((&all["views"], all["notes"].as_array().unwrap().len()), (&json!(20), 20));
}

#[tokio::test]
async fn a_write_to_a_session_that_has_ended_is_said_to_be_gone() {
    let app = with_route(&on_memory(), async |session: Session| {
        let each = |_| {
            session.incr(VIEWS, 1).unwrap();
            session.commit_now()
        };
        for outcome in join_all((0..3).map(each)).await {
            assert_eq!(outcome?, Applied::Gone, "also where another call's commit took the write");
        }
        Ok(())
    });
    let browser = signed_in(&app, "acme", "ada").await;
    browser.clone().post("/sign-out").await;
    let answer = browser.send_only("POST", "/do", "").await;
    assert_eq!((answer.status, answer.cookies().len()), (StatusCode::OK, 0));
}

/// Polls a call so often and drops it; its outcome, if it came to an end.
async fn polled<T>(call: impl Future<Output = T>, most: usize) -> Option<T> {
    let (mut call, mut left) = (Box::pin(call), most);
    poll_fn(|context| {
        left -= 1;
        match call.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Has a handler ask for something, drop its commit at each await, and answer; then looks at what the browser has.
async fn dropped_at_each_await<F>(
    signed_in_before: bool,
    ask: impl Fn(Session) -> F + Clone + Send + Sync + 'static,
    check: impl AsyncFn(&mut Browser, usize),
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    proxy.set_delay(Duration::from_millis(2));
    let direct = shop(&on_redis(&server.url()));
    let sessions = on_redis(&format!("redis://{}", proxy.addr()));
    let over = Arc::new(AtomicBool::new(false));
    let mut dropped = 0;
    while !over.load(Ordering::SeqCst) {
        let (ask, seen) = (ask.clone(), over.clone());
        let app = with_route(&sessions, move |session: Session| {
            let (asked, seen) = (ask(session.clone()), seen.clone());
            async move {
                asked.await?;
                let outcome = polled(session.commit_now(), dropped + 1).await;
                seen.store(outcome.is_some(), Ordering::SeqCst);
                outcome.transpose().map(drop)
            }
        });
        let mut browser = Browser::new(&direct);
        browser.post("/cart/tea/1").await;
        if signed_in_before {
            browser.post("/sign-in/acme/ada").await;
        }
        let mut browser = browser.on(&app);
        let answer = browser.post("/do").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        check(&mut browser.on(&direct), answer.cookies().len()).await;
        dropped += 1;
    }
    assert!(dropped >= 2, "no call was dropped");
}

#[tokio::test]
async fn a_commit_whose_call_is_dropped_goes_on_and_is_not_repeated() {
    dropped_at_each_await(
        true,
        |session| async move { session.incr(VIEWS, 1) },
        async |browser, cookies| {
            assert_eq!((browser.get("/all").await.json()["views"].as_i64(), cookies), (Some(1), 0));
        },
    )
    .await;
}

#[tokio::test]
async fn a_renewal_whose_call_is_dropped_is_delivered() {
    dropped_at_each_await(
        true,
        |session| async move { session.renew() },
        async |browser, cookies| {
            assert_eq!((browser.get("/me").await.status, cookies), (StatusCode::OK, 1));
        },
    )
    .await;
}

#[tokio::test]
async fn a_sign_in_whose_call_is_dropped_happens_once_and_is_delivered() {
    dropped_at_each_await(
        false,
        |session| async move { session.sign_in(&ada(), "here").await },
        async |browser, cookies| {
            let all = browser.get("/all").await.json();
            assert_eq!((&all["user"], &all["cart"]["tea"], cookies), (&json!(["acme", "ada"]), &json!(1), 1));
            assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 1);
            browser.post("/sign-out").await;
        },
    )
    .await;
}

#[tokio::test]
async fn a_sign_out_whose_call_is_dropped_is_not_swallowed() {
    dropped_at_each_await(
        true,
        |session| async move { session.sign_out().await },
        async |browser, cookies| {
            assert_eq!((&browser.cookie, cookies), (&None, 1));
            assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);
        },
    )
    .await;
}

#[tokio::test]
async fn what_may_have_been_added_is_not_added_again_and_what_was_set_is_set() {
    let store = unanswering("commit", 1);
    let app = with_route(&store.sessions(), async |session: Session| {
        session.incr(VIEWS, 1)?;
        session.set(LOCALE, &"de".to_owned())?;
        session.update(NOTES, |notes| notes.push("once".to_owned())).await?;
        assert_eq!(session.commit_now().await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
        assert_eq!(session.get(LOCALE).await?.as_deref(), Some("de"));
        Ok(())
    });
    let mut browser = signed_in(&app, "acme", "ada").await;
    assert_eq!(browser.post("/do").await.status, StatusCode::OK);
    let all = browser.get("/all").await.json();
    assert_eq!((&all["views"], &all["notes"], &all["locale"]), (&json!(1), &json!(["once"]), &json!("de")));
}

#[tokio::test]
async fn a_sign_in_without_an_answer_is_tried_again_as_the_same_session() {
    for call in ["create", "end"] {
        let store = unanswering(call, 1);
        let app = with_route(&store.sessions(), move |session: Session| async move {
            session.sign_in(&ada(), "here").await?;
            let outcome = session.commit_now().await;
            assert_eq!(outcome.is_err(), call == "create", "what ends later is no failure of the sign-in");
            Ok(())
        });
        let mut browser = Browser::new(&shop(&with(Sessions::builder(store.store.clone(), ring()))));
        browser.post("/cart/tea/2").await;
        let mut browser = browser.on(&app);
        let answer = browser.post("/do").await;
        assert_eq!((answer.status, answer.cookies().len()), (StatusCode::OK, 1), "{call}");
        let all = browser.get("/all").await.json();
        assert_eq!((&all["user"], &all["cart"]["tea"]), (&json!(["acme", "ada"]), &json!(2)), "{call}");
        assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 1, "{call}");
    }
}

#[tokio::test]
async fn a_read_that_a_commit_overtakes_does_not_bring_back_what_was() {
    // The first load gets its answer only when the commit has been made.
    let (loaded, go_on) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (told, held) = (loaded.clone(), go_on.clone());
    let loads = AtomicU32::new(0);
    let store = Hooked::new(move |step| {
        let first = step == Step::Done("load") && loads.fetch_add(1, Ordering::SeqCst) == 0;
        let (told, held) = (told.clone(), held.clone());
        async move {
            if first {
                told.notify_one();
                drop(held.acquire().await);
            }
            Ok(())
        }
    });
    let app = with_route(&store.sessions(), move |session: Session| {
        let (loaded, go_on) = (loaded.clone(), go_on.clone());
        async move {
            let reader = session.clone();
            let read = tokio::spawn(async move { reader.counter(VIEWS).await });
            loaded.notified().await;
            session.incr(VIEWS, 5)?;
            assert_eq!(session.commit_now().await?, Applied::Done);
            go_on.add_permits(1);
            assert_eq!(read.await.unwrap()?, 5);
            assert_eq!(session.counter(VIEWS).await?, 5);
            Ok(())
        }
    });
    let mut browser = Browser::new(&app);
    browser.post("/cart/tea/1").await;
    assert_eq!(browser.post("/do").await.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_sees_a_commit_half_done() {
    let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let (told, held) = (asked.clone(), go_on.clone());
    let store = Hooked::new(move |step| {
        let (told, held) = (told.clone(), held.clone());
        async move {
            if step == Step::Asked("create") {
                told.notify_one();
                held.acquire().await.unwrap().forget();
            }
            Ok(())
        }
    });
    let app = with_route(&store.sessions(), move |session: Session| {
        let (asked, go_on) = (asked.clone(), go_on.clone());
        async move {
            session.set(LOCALE, &"de".to_owned())?;
            session.sign_in(&ada(), "here").await?;
            let other = session.clone();
            let commit = tokio::spawn(async move { other.commit_now().await });
            asked.notified().await;
            let reads = async { (session.user().await, session.get(LOCALE).await, session.lineage().await) };
            let release = async { go_on.add_permits(1) };
            let ((user, locale, lineage), ()) = tokio::join!(reads, release);
            assert_eq!((user?.unwrap().id(), locale?.as_deref()), ("ada", Some("de")));
            assert!(lineage?.is_some());
            assert_eq!(commit.await.unwrap()?, Applied::Done);
            Ok(())
        }
    });
    let mut browser = Browser::new(&app);
    assert_eq!(browser.post("/do").await.status, StatusCode::OK);
    assert_eq!(browser.get("/all").await.json()["locale"], "de");
}

#[tokio::test]
async fn what_is_written_after_a_sign_out_is_a_guests() {
    for commits_between in [false, true] {
        let app = with_route(&on_memory(), move |session: Session| async move {
            session.incr(VIEWS, 1)?;
            session.sign_out().await?;
            if commits_between {
                assert_eq!(session.commit_now().await?, Applied::Done);
            }
            assert_eq!((session.user().await?, session.counter(VIEWS).await?), (None, 0));
            session.set(LOCALE, &"signed out".to_owned())
        });
        let mut browser = signed_in(&app, "acme", "ada").await;
        browser.post("/cart/tea/1").await;
        let user = browser.clone();
        let answer = browser.post("/do").await;
        assert_eq!((answer.status, answer.cookies().len()), (StatusCode::OK, 1));
        let all = browser.get("/all").await.json();
        assert_eq!(
            (&all["user"], &all["cart"], &all["views"], &all["locale"]),
            (&json!(null), &json!({}), &json!(0), &json!("signed out"))
        );
        assert_eq!(user.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    }
}
