//! The session's part in a transaction: recorded, applied once, to the session it was made on and no other.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::sync::{Arc, Mutex};

use axum::{Router, extract::Path, http::StatusCode, routing::post};
use common::{Browser, CART, LOCALE, NOTES, VIEWS, on_memory, on_redis, redis, ring, shop, signed_in, with};
use scalekit_core::{
    ErrorKind, OperationId, Result,
    http::{Around, AroundLayer, Participants, Request, Response},
};
use scalekit_session::{MemoryStore, Session, SessionOps, Sessions};
use scalekit_testkit::{Rng, at_once, seed};
use serde_json::json;
use tower::Service;

/// What a layer with a transaction does, without the transaction: the record lies in memory.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    stored: Vec<(OperationId, Vec<u8>)>,
    clock: u64,
    /// The process "dies" between commit and apply.
    dies: bool,
    /// The transaction is rolled back.
    fails: bool,
    refused: Vec<ErrorKind>,
}

impl Around for Ledger {
    async fn around<S>(self, request: Request, mut inner: S) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        let participants = request.extensions().get::<Participants>().cloned().unwrap_or_default();
        let session = participants.iter().find(|one| one.name() == "session").unwrap().clone();
        // A replay: no handler, the stored bytes are applied again.
        if let Some(at) = request.headers().get("replay") {
            let at: usize = at.to_str().unwrap().parse().unwrap();
            let (id, bytes) = self.0.lock().unwrap().stored[at].clone();
            session.apply(id, &bytes).await.unwrap();
            return Ok(Response::default());
        }
        session.enlist();
        let response = inner.call(request).await?;
        if self.0.lock().unwrap().fails || response.status().as_u16() >= 400 {
            session.discard();
            return Ok(response);
        }
        let recorded = match session.record() {
            Ok(recorded) => recorded,
            Err(error) => {
                self.0.lock().unwrap().refused.push(error.kind());
                session.discard();
                return Ok(axum::response::IntoResponse::into_response(error));
            }
        };
        let Some(bytes) = recorded else { return Ok(response) };
        let (id, dies) = {
            let mut state = self.0.lock().unwrap();
            state.clock += 1;
            let id = OperationId::new(state.clock, 9);
            state.stored.push((id, bytes.clone()));
            (id, state.dies)
        };
        if !dies {
            session.apply(id, &bytes).await.unwrap();
        }
        Ok(response)
    }
}

fn app(sessions: &Sessions, ledger: &Ledger) -> Router {
    let inside = Router::new()
        .route(
            "/order/{sku}/{count}",
            post(async |s: Session, Path((sku, count)): Path<(String, i64)>| -> Result<String> {
                s.add(CART, &sku, -count)?;
                s.incr(VIEWS, 1)?;
                s.set(LOCALE, &"ordered".to_owned())?;
                Ok(s.counter_map(CART).await?.get(&sku).copied().unwrap_or_default().to_string())
            }),
        )
        .route(
            "/refused/update",
            post(async |s: Session| s.update(NOTES, |notes| notes.clear()).await.map(|_| ())),
        )
        .route("/refused/sign-out", post(async |s: Session| s.sign_out().await))
        .route("/nothing", post(async |s: Session| s.user().await.map(|_| ())))
        .layer(AroundLayer::new(ledger.clone()))
        .layer(sessions.layer());
    shop(sessions).merge(inside)
}

async fn replay(browser: &Browser, app: &Router, at: usize) -> StatusCode {
    use tower::ServiceExt;
    let request =
        axum::http::Request::builder().method("POST").uri("/order/tea/1").header("replay", at.to_string());
    let request = match &browser.cookie {
        Some(cookie) => request.header("cookie", cookie),
        None => request,
    };
    app.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap().status()
}

async fn recorded_changes_are_applied_once(sessions: Sessions) {
    let ledger = Ledger::default();
    let app = app(&sessions, &ledger);
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/cart/tea/5").await;
    let ordered = browser.post("/order/tea/2").await;
    assert_eq!(ordered.body, b"3", "the handler sees its own change");
    assert!(ordered.cookies().is_empty());
    let expected = (json!({"tea": 3}), json!(1), json!("ordered"));
    let seen = async |browser: &mut Browser| {
        let all = browser.get("/all").await.json();
        (all["cart"].clone(), all["views"].clone(), all["locale"].clone())
    };
    assert_eq!(seen(&mut browser).await, expected);
    for _ in 0..5 {
        assert_eq!(replay(&browser, &app, 0).await, StatusCode::OK);
    }
    assert_eq!(seen(&mut browser).await, expected, "a replay applied it again");
    // Whoever replays: it is applied to the session it was made on.
    let mut other = signed_in(&app, "acme", "eve").await;
    other.post("/cart/tea/9").await;
    replay(&other, &app, 0).await;
    replay(&Browser::new(&app), &app, 0).await;
    assert_eq!(other.get("/all").await.json()["cart"], json!({"tea": 9}));
    assert_eq!(seen(&mut browser).await, expected);
    // The record names no secret.
    let bytes = ledger.0.lock().unwrap().stored[0].1.clone();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(!text.contains(&browser.cookie.clone().unwrap()[3..]), "{text}");
    assert!(SessionOps::from_recorded(&bytes).is_ok() && SessionOps::from_recorded(b"{}").is_err());
}

#[tokio::test]
async fn recorded_changes_are_applied_once_in_memory() {
    recorded_changes_are_applied_once(on_memory()).await;
}

#[tokio::test]
async fn recorded_changes_are_applied_once_in_redis() {
    let server = redis().await;
    recorded_changes_are_applied_once(on_redis(&server.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_was_lost_is_made_good_by_any_replay_and_once() {
    let seed = seed();
    let server = redis().await;
    let sessions = on_redis(&server.url());
    let ledger = Ledger::default();
    let app = app(&sessions, &ledger);
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/cart/tea/100").await;
    ledger.0.lock().unwrap().dies = true;
    for _ in 0..10 {
        browser.post("/order/tea/1").await;
    }
    assert_eq!(
        browser.get("/all").await.json()["cart"],
        json!({"tea": 100}),
        "the layer committed them itself"
    );
    // All replays at once, each several times, in random order, while the cart is in use.
    at_once(8, |client| {
        let (browser, app) = (browser.clone(), app.clone());
        async move {
            let mut order: Vec<usize> = (0..10).collect();
            Rng::new(seed ^ client as u64).shuffle(&mut order);
            for at in order {
                replay(&browser, &app, at).await;
                browser.send_only("POST", "/cart/milk/1", "").await;
            }
        }
    })
    .await;
    let all = browser.get("/all").await.json();
    assert_eq!((&all["cart"], &all["views"]), (&json!({"tea": 90, "milk": 80}), &json!(10)), "seed {seed}");
}

#[tokio::test]
async fn a_rollback_forgets_and_a_session_that_is_gone_is_no_error() {
    let store = MemoryStore::new();
    let sessions = with(Sessions::builder(store.clone(), ring()));
    let ledger = Ledger::default();
    let app = app(&sessions, &ledger);
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/cart/tea/5").await;
    ledger.0.lock().unwrap().fails = true;
    assert_eq!(browser.post("/order/tea/2").await.status, StatusCode::OK);
    ledger.0.lock().unwrap().fails = false;
    assert_eq!(browser.get("/all").await.json()["cart"], json!({"tea": 5}));

    browser.post("/order/tea/2").await;
    browser.post("/sign-out").await;
    let gone = sessions.metrics().gone;
    assert_eq!(replay(&browser, &app, 0).await, StatusCode::OK);
    assert_eq!(sessions.metrics().gone, gone + 1);
    assert!(store.is_empty(), "a replay brought the session back");
    // A write of a request whose session is gone is dropped before the commit.
    let late = signed_in(&app, "acme", "ada").await;
    late.clone().post("/sign-out").await;
    assert_eq!(late.send_only("POST", "/order/tea/1", "").await.status, StatusCode::OK);
    assert_eq!(ledger.0.lock().unwrap().stored.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_refused() {
    let ledger = Ledger::default();
    let app = app(&on_memory(), &ledger);
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/note/a").await;
    for path in ["/refused/update", "/refused/sign-out"] {
        assert_eq!(browser.post(path).await.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
    assert_eq!(browser.post("/nothing").await.status, StatusCode::OK);
    assert_eq!(browser.get("/all").await.json()["notes"], json!(["a"]));
    // A session that is not there cannot be named in a record.
    assert_eq!(Browser::new(&app).post("/order/tea/1").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(ledger.0.lock().unwrap().refused, [ErrorKind::Misuse]);
    assert!(ledger.0.lock().unwrap().stored.is_empty());
}

#[tokio::test]
async fn marks_survive_a_rotation_of_the_same_user() {
    let server = redis().await;
    let sessions = on_redis(&server.url());
    let ledger = Ledger::default();
    let repair = Router::new()
        .route(
            "/repair/{micros}",
            post(async |s: Session, Path(micros): Path<u64>| -> Result<String> {
                let ops = SessionOps::new().add(CART, "tea", -2)?.incr(VIEWS, 1)?;
                let applied = s.apply(OperationId::new(micros, 9), &ops).await?;
                Ok(format!("{applied:?} {:?}", s.counter_map(CART).await?))
            }),
        )
        .layer(sessions.layer());
    let app = app(&sessions, &ledger).merge(repair);
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/cart/tea/5").await;
    browser.post("/order/tea/2").await;
    browser.post("/sign-in/acme/ada").await;
    // The rotated session knows the order's operation already, and applies one that never arrived.
    assert_eq!(browser.post("/repair/1").await.body, br#"Before {"tea": 3}"#);
    assert_eq!(browser.post("/repair/2").await.body, br#"Done {"tea": 1}"#);
    assert_eq!(browser.post("/repair/2").await.body, br#"Before {"tea": 1}"#);
    assert_eq!(Browser::new(&app).post("/repair/3").await.body, b"Gone {}");
}

#[tokio::test]
async fn a_refresh_sees_what_another_request_did() {
    let sessions = on_memory();
    let mut browser = Browser::new(&shop(&sessions));
    let seen: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (record, other) = (seen.clone(), shop(&sessions));
    let handler = move |s: Session, request: Request| {
        let (record, mut tab) = (record.clone(), Browser::new(&other));
        async move {
            let session = request.extensions().get::<Participants>().unwrap().iter().next().unwrap().clone();
            let cookies = request.headers()["cookie"].to_str().unwrap();
            tab.cookie = cookies.split("; ").nth(1).map(str::to_owned);
            let mut values = vec![s.counter(VIEWS).await?];
            assert!(tab.post("/views").await.status.is_success());
            values.push(s.counter(VIEWS).await?);
            session.refresh().await?;
            values.push(s.counter(VIEWS).await?);
            *record.lock().unwrap() = values;
            Ok::<_, scalekit_core::Error>(())
        }
    };
    let app = Router::new().route("/", post(handler)).layer(sessions.layer());
    browser.post("/views").await;
    assert!(browser.on(&app).post("/").await.status.is_success());
    assert_eq!(*seen.lock().unwrap(), [1, 1, 2]);
}
