//! Answers that go on after their head: what a stream may still do to its session.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::get};
use common::{Browser, VIEWS, ring, shop, signed_in, with};
use scalekit_core::{ErrorKind, ManualClock, Result};
use scalekit_session::{Applied, MemoryStore, Session, Sessions};

const HOUR: Duration = Duration::from_secs(3_600);

/// A shop with two routes that keep their session for what comes after the head.
struct Shop {
    app: Router,
    store: MemoryStore,
    clock: Arc<ManualClock>,
    kept: Arc<Mutex<Option<Session>>>,
}

impl Shop {
    fn open() -> Self {
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let store = MemoryStore::with_clock(clock.clone());
        let sessions = with(Sessions::builder(store.clone(), ring()).clock(clock.clone()).idle(2 * HOUR));
        let kept: Arc<Mutex<Option<Session>>> = Arc::default();
        let keep = move |kept: Arc<Mutex<Option<Session>>>, reads: bool| {
            get(async move |session: Session| {
                if reads {
                    session.user().await?;
                }
                *kept.lock().unwrap() = Some(session);
                Ok::<_, scalekit_core::Error>(())
            })
        };
        let streams = Router::new()
            .route("/stream", keep(kept.clone(), false))
            .route("/stream-that-reads", keep(kept.clone(), true))
            .layer(sessions.layer());
        Self { app: shop(&sessions).merge(streams), store, clock, kept }
    }

    /// The session of an answer whose head has been sent.
    async fn stream(&self, browser: &Browser, path: &str) -> Session {
        assert_eq!(browser.send_only("GET", path, "").await.status, 200);
        self.kept.lock().unwrap().take().unwrap()
    }
}

fn misuse(outcome: Result<Applied>) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Misuse);
}

#[tokio::test]
async fn what_needs_a_cookie_is_refused_once_the_head_is_sent_whatever_the_handler_did() {
    let shop = Shop::open();
    for path in ["/stream", "/stream-that-reads"] {
        let stream = shop.stream(&Browser::new(&shop.app), path).await;
        let before = shop.store.len();
        stream.incr(VIEWS, 1).unwrap();
        misuse(stream.commit_now().await);
        assert_eq!(shop.store.len(), before, "a session that nobody has the cookie of");

        let user = signed_in(&shop.app, "acme", "ada").await;
        let stream = shop.stream(&user, path).await;
        stream.sign_out().await.unwrap();
        misuse(stream.commit_now().await);
        let stream = shop.stream(&user, path).await;
        stream.renew().unwrap();
        misuse(stream.commit_now().await);
        let stream = shop.stream(&user, path).await;
        stream.incr(VIEWS, 3).unwrap();
        assert_eq!(stream.commit_now().await.unwrap(), Applied::Done);
        assert_eq!(user.on(&shop.app).get("/all").await.json()["views"], 3, "{path}");
    }
}

#[tokio::test]
async fn a_guests_session_that_expires_under_a_stream_is_not_begun_anew_for_nobody() {
    let shop = Shop::open();
    for path in ["/stream", "/stream-that-reads"] {
        let mut guest = Browser::new(&shop.app);
        guest.post("/views").await;
        let stream = shop.stream(&guest, path).await;
        shop.clock.advance(3 * HOUR);
        stream.incr(VIEWS, 1).unwrap();
        assert_eq!(stream.commit_now().await.unwrap(), Applied::Gone);
        assert_eq!(shop.store.len(), 0, "{path}");
    }
}
