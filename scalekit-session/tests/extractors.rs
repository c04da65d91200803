//! The extractors beside `Session`: one that only reads, one that can do without, and the read that begins early.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use axum::{
    Json, Router,
    body::Bytes,
    http::{StatusCode, header},
    routing::{get, post},
};
use common::{Browser, LOCALE, LONG, VIEWS, on_memory, on_redis, redis, ring, shop, signed_in};
use scalekit_core::{Result, redis::Redis};
use scalekit_session::{MaybeSession, ReadSession, RedisStore, Session, Sessions};
use scalekit_testkit::{Proxy, wait_until};
use serde_json::{Value, json};

async fn product(session: MaybeSession) -> Result<Json<Value>> {
    Ok(Json(match session {
        MaybeSession::Available(session) => {
            json!({"user": session.user().await?.map(|user| user.id().to_owned())})
        }
        MaybeSession::Stale(_) | MaybeSession::Unavailable(_) => json!("unavailable"),
    }))
}

fn app(sessions: &Sessions) -> Router {
    let extra = Router::new()
        .route("/product", get(product))
        .route(
            "/home",
            get(async |session: ReadSession| Ok::<_, scalekit_core::Error>(Json(session.get(LOCALE).await?))),
        )
        .route("/upload", post(async |session: Session, body: Bytes| session.incr(VIEWS, body.len() as i64)));
    shop(sessions).merge(extra.layer(sessions.prefetching_layer(|request| request.uri().path() == "/upload")))
}

#[tokio::test]
async fn a_store_that_is_down_is_not_taken_for_an_anonymous_visitor() {
    let server = redis().await;
    // The real budgets.
    let store = RedisStore::new(Redis::open(&server.url()).unwrap());
    let sessions =
        Sessions::builder(store, ring()).namespace("shop").cookie(scalekit_session::Cookie::dev("id"));
    let app = app(&sessions.build().unwrap());
    let mut browser = Browser::new(&app);
    while browser.cookie.is_none() {
        browser.post("/sign-in/acme/ada").await;
    }
    wait_until("the session is read", LONG, async || {
        browser.send_only("GET", "/product", "").await.json() == json!({"user": "ada"})
    })
    .await;
    assert_eq!(Browser::new(&app).get("/product").await.json(), json!({"user": null}));
    server.pause().await;
    for _ in 0..5 {
        let answer = browser.get("/product").await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!("unavailable")));
        assert!(answer.cookies().is_empty() && browser.cookie.is_some());
        assert_eq!(browser.get("/home").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    // Without a cookie there is nothing to ask.
    assert_eq!(Browser::new(&app).get("/product").await.json(), json!({"user": null}));
    server.resume();
    wait_until("it is back", LONG, async || {
        browser.send_only("GET", "/product", "").await.json() == json!({"user": "ada"})
    })
    .await;
}

#[tokio::test]
async fn a_reader_writes_nothing_and_a_missing_layer_is_named() {
    let server = redis().await;
    let app = app(&on_redis(&server.url()));
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/locale/de").await;
    browser.get("/all").await;
    server.reset_commandstats().await;
    let answer = browser.get("/home").await;
    assert_eq!((answer.json(), answer.cookies().len()), (json!("de"), 0));
    assert_eq!(answer.headers[header::VARY], "cookie");
    let stats = server.commandstats().await;
    assert_eq!(stats.keys().map(String::as_str).collect::<Vec<_>>(), ["hgetall", "pttl"], "{stats:?}");
    for route in [get(product), get(async |_: ReadSession| "read")] {
        let bare = Router::new().route("/", route);
        assert_eq!(Browser::new(&bare).get("/").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    }
}

#[tokio::test]
async fn a_read_that_began_early_is_joined() {
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    let sessions = on_redis(&format!("redis://{}", proxy.addr()));
    let app = app(&sessions);
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.post("/upload").await;
    browser.get("/me").await;
    let loads = sessions.metrics().loads;
    let answer = browser.send("POST", "/upload", "four").await;
    assert!(answer.status.is_success());
    wait_until("it was read", LONG, async || sessions.metrics().loads == loads + 1).await;
    assert_eq!(browser.get("/all").await.json()["views"], 4);
    assert_eq!(sessions.metrics().loads, loads + 2);
    // Nobody else pays for it.
    proxy.reset();
    browser.get("/static").await;
    Browser::new(&app).send("POST", "/static", "").await;
    assert_eq!((proxy.round_trips(), sessions.metrics().loads), (0, loads + 2));
    let mut guest = Browser::new(&self::app(&on_memory()));
    assert!(guest.send("POST", "/upload", "x").await.status.is_success());
    assert_eq!(guest.get("/all").await.json()["views"], 1);
}
