//! Sessions on three masters: no call names keys of two slots, and all that is promised of one server holds.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, routing::post};
use common::{Browser, LONG, ring, shop, signed_in, with};
use scalekit_core::{
    ManualClock, Result,
    redis::{Redis, RedisConfig},
};
use scalekit_session::{Applied, Field, List, ReadSession, RedisStore, Session, Sessions};
use scalekit_testkit::{RedisCluster, wait_until};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

const SEEN: List<u64> = List::new("seen", 3);
const NOTICE: Field<String> = Field::new("notice");

fn open(cluster: &RedisCluster) -> Redis {
    let config = RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG);
    Redis::open_with(&cluster.urls(), config).unwrap()
}

#[tokio::test]
async fn a_cluster_serves_sessions_of_all_slots() {
    let cluster = scalekit_testkit::Redis::cluster(3).await;
    let app = shop(&with(Sessions::builder(RedisStore::new(open(&cluster)), ring())));
    for user in 0..30 {
        let mut browser = Browser::new(&app);
        browser.post("/cart/tea/2").await;
        browser.post(&format!("/sign-in/acme/user{user}")).await;
        let mut second = signed_in(&app, "acme", &format!("user{user}")).await;
        second.post("/note/a").await;
        assert_eq!(browser.get("/all").await.json()["cart"], json!({"tea": 2}));
        assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 2);
        browser.post("/sign-in/acme/other").await;
        assert_eq!(browser.get("/all").await.json()["cart"], json!({}));
        assert_eq!(second.post("/revoke/all").await.body, b"1");
        browser.post("/sign-out").await;
    }
    for node in cluster.nodes() {
        let marks = node.dump_everything().await;
        assert!(!String::from_utf8_lossy(&marks).contains("acme"), "a session was left");
    }
}

async fn fields(session: Session) -> Result<String> {
    for number in 0..5 {
        session.append(SEEN, &number)?;
    }
    session.set(NOTICE, &"once".to_owned())?;
    assert_eq!(session.commit_now().await?, Applied::Done);
    let first = session.take(NOTICE).await?;
    let second = session.take(NOTICE).await?;
    Ok(format!("{:?} {first:?} {second:?}", session.list(SEEN).await?))
}

#[tokio::test]
async fn rotations_fields_and_watches_work_in_every_slot() {
    let cluster = scalekit_testkit::Redis::cluster(3).await;
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let node = || with(Sessions::builder(RedisStore::new(open(&cluster)), ring()).clock(clock.clone()));
    let (one, two) = (node(), node());
    let (left, mut watches) = mpsc::unbounded_channel();
    let watch = move |session: ReadSession| {
        let left = left.clone();
        async move { session.watch().await.map(|watch| drop(left.send(watch))) }
    };
    let extra = Router::new().route("/watch", post(watch)).route("/fields", post(fields)).layer(one.layer());
    let (here, there) = (shop(&one).merge(extra), shop(&two));
    for user in 0..12 {
        let mut guest = Browser::new(&here);
        guest.post("/cart/tea/2").await;
        let before = guest.clone();
        guest.post(&format!("/sign-in/acme/user{user}")).await;
        assert_eq!(guest.get("/all").await.json()["cart"], json!({"tea": 2}));
        let before = &before;
        wait_until("the guest's session has ended", LONG, async || {
            before.send_only("GET", "/all", "").await.json()["cart"] == json!({})
        })
        .await;
        assert_eq!(guest.post("/fields").await.body, b"[2, 3, 4] Some(\"once\") None");

        assert!(guest.post("/watch").await.status.is_success());
        let mut watch = watches.recv().await.unwrap();
        let former = guest.clone();
        clock.advance(Duration::from_secs(3_600));
        guest.get("/me").await;
        assert_ne!(guest.cookie, former.cookie);
        assert_eq!(former.on(&there).send_only("GET", "/me", "").await.status, StatusCode::OK);
        assert_eq!(guest.get("/sessions").await.json().as_array().unwrap().len(), 1);
        assert!(!watch.has_ended(), "a rotation is no end");
        assert_eq!(guest.on(&there).send_only("POST", "/revoke/all", "").await.body, b"1");
        timeout(LONG, watch.ended()).await.expect("nobody told");
        assert_eq!(former.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    }
    let eviction = RedisStore::new(open(&cluster)).eviction().await.unwrap();
    assert!(!eviction.ends_sessions(), "{eviction:?}");
}
