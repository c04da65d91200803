//! What handlers and stores do to a session: closures that use it or panic, removals that fail, logs.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    io::Write,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, http::StatusCode, routing::post};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{Browser, CART, LOCALE, NOTES, VIEWS, on_memory, on_redis, ring, shop, signed_in, with};
use scalekit_core::{Error, ErrorKind, OperationId, Result};
use scalekit_session::{
    Field, MemoryStore, Session, Sessions, Store,
    store::{Change, Committed, Created, Creation, Listed, Loaded, Removed, Rules, SessionKey},
};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;
use tracing_subscriber::fmt::format::FmtSpan;

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

/// A memory store whose next removals fail.
#[derive(Clone)]
struct Flaky {
    store: MemoryStore,
    failures: Arc<AtomicU32>,
    tried: Arc<AtomicU32>,
}

impl Flaky {
    fn new(failures: u32) -> Self {
        let failures = Arc::new(AtomicU32::new(failures));
        Self { store: MemoryStore::new(), failures, tried: Arc::default() }
    }

    fn sessions(&self) -> Sessions {
        with(Sessions::builder(self.clone(), ring()))
    }
}

#[async_trait]
impl Store for Flaky {
    async fn load(&self, key: &SessionKey, rules: &Rules, budget: Duration) -> Result<Loaded> {
        self.store.load(key, rules, budget).await
    }

    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        budget: Duration,
    ) -> Result<Committed> {
        self.store.commit(key, changes, operation, rules, budget).await
    }

    async fn create(&self, creation: &Creation, rules: &Rules, budget: Duration) -> Result<Created> {
        self.store.create(creation, rules, budget).await
    }

    async fn remove(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        mark: bool,
        budget: Duration,
    ) -> Result<Removed> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        let fail = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fail.is_ok() {
            return Err(Error::new(ErrorKind::OutcomeUnknown, "no answer"));
        }
        self.store.remove(key, version, mark, budget).await
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>> {
        self.store.list(index, prefix, rules, budget).await
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64> {
        self.store.revoke(index, prefix, except, budget).await
    }
}

#[tokio::test(start_paused = true)]
async fn another_users_session_that_was_signed_in_over_is_removed_in_the_background() {
    let store = Flaky::new(4);
    let app = shop(&store.sessions());
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
    let app = shop(&store.sessions());
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
    let before = store.store.len();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(store.store.len(), before - 1);
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// Every spelling of the secrets in a cookie: of its text, its id, its MAC, and of what the store knows it by.
fn spellings(cookie: &str) -> Vec<String> {
    let value = cookie.split(';').next().unwrap().split_once('=').unwrap().1;
    let bytes = URL_SAFE_NO_PAD.decode(value).unwrap();
    let (secret, mac) = (&bytes[7..23], &bytes[23..]);
    let digest = Sha256::digest(secret);
    let mut all: Vec<String> = (0..=value.len() - 16).map(|at| value[at..at + 16].to_owned()).collect();
    for part in [secret, mac, &digest] {
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        all.extend([hex.to_uppercase(), hex, URL_SAFE_NO_PAD.encode(part), format!("{part:?}")]);
    }
    all
}

#[tokio::test]
async fn no_log_line_and_no_span_tells_a_secret() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // This thread runs every task of the test.
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("captured");

    let server = common::redis().await;
    let flaky = Flaky::new(u32::MAX);
    let issued = AsyncMutex::new(Vec::new());
    for app in [shop(&on_redis(&server.url())), shop(&flaky.sessions())] {
        let mut browser = Browser::new(&app);
        let mut old = Vec::new();
        let plan = [
            "/views",
            "/cart/tea/1",
            "/note/a",
            "/sign-in/acme/ada",
            "/note/b",
            "/sign-in/acme/ada",
            "/sign-in/acme/bob",
            "/panics",
            "/fails/eve",
            "/revoke/others",
            "/sign-out",
            "/views",
            "/sign-in/acme/ada",
            "/locale/de",
        ];
        for path in plan {
            old.push(browser.clone());
            let panicking = AssertUnwindSafe(browser.post(path));
            if let Ok(answer) = futures_util::FutureExt::catch_unwind(panicking).await {
                issued
                    .lock()
                    .await
                    .extend(answer.cookies().into_iter().filter(|one| !one.contains("Max-Age=0")));
            }
            browser.get("/all").await;
            browser.get("/sessions").await;
        }
        for late in &mut old {
            late.send_only("POST", "/note/late", "").await;
        }
        let mut forged = browser.clone();
        forged.cookie = forged.cookie.map(|cookie| cookie.replace("id=A", "id=B"));
        forged.get("/all").await;
        server.kill().await;
        for path in ["/views", "/note/x", "/sign-in/acme/eve", "/sign-out"] {
            let answer = browser.clone().post(path).await;
            issued.lock().await.extend(answer.cookies().into_iter().filter(|one| !one.contains("Max-Age=0")));
        }
    }
    let (log, issued) = (captured.text(), issued.into_inner());
    assert!(issued.len() >= 10, "{issued:?}");
    for expected in ["captured", "session commit failed", "redis"] {
        assert!(log.contains(expected), "no {expected:?}: the capture missed it:\n{log}");
    }
    for cookie in &issued {
        for secret in spellings(cookie) {
            let at = log.lines().find(|line| line.contains(&secret));
            assert!(at.is_none(), "{secret} is in {at:?}");
        }
    }
}
