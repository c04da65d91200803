//! An application on axum-login, its store exchanged, on three nodes that share a Redis.
#![cfg(all(feature = "redis", feature = "tower-sessions-014"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod app;
mod browser;
#[path = "../common/mod.rs"]
mod common;

use std::sync::Arc;

use app::{Gate, app};
use axum::{Router, http::StatusCode};
use browser::Browser;
use common::{LONG, patient};
use scalekit_core::redis::{Redis, RedisConfig};
use scalekit_session::{RedisStore, TowerSessionStore};
use scalekit_testkit::RedisServer;
use tokio::{sync::Barrier, task::JoinSet};

const ADA: &str = "name=ada&password=lovelace";

struct Service {
    server: RedisServer,
    gate: Gate,
    stores: Vec<TowerSessionStore>,
    nodes: Vec<Router>,
}

impl Service {
    async fn start() -> Self {
        let (server, gate) = (common::redis().await, Arc::new(Barrier::new(2)));
        let mut service = Self { server, gate, stores: Vec::new(), nodes: Vec::new() };
        service.deploy();
        service
    }

    /// Three nodes that have nothing in common but the server.
    fn deploy(&mut self) {
        let store = |_| {
            let store = TowerSessionStore::new(RedisStore::new(patient(&self.server.url())));
            store.namespace("shop").unwrap().budget(LONG).unwrap()
        };
        self.stores = (0..3).map(store).collect();
        self.nodes = self.stores.iter().map(|store| app(store.clone(), &self.gate)).collect();
    }

    fn dropped(&self) -> u64 {
        self.stores.iter().map(|store| store.metrics().dropped).sum()
    }
}

async fn signed_in(nodes: &[Router]) -> Browser {
    let mut ada = Browser::new(nodes);
    assert_eq!(ada.post("/login", ADA).await.status, StatusCode::SEE_OTHER);
    ada
}

/// Everything that a user does, one request after the other.
async fn visit(nodes: &[Router]) {
    let mut ada = Browser::new(nodes);
    let answer = ada.get("/me").await;
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(answer.location.as_deref(), Some("/login?next=%2Fme"));
    assert!(ada.get("/login").await.body.contains("<form"));
    assert_eq!(ada.cookie, None, "nothing to keep yet");

    for sku in ["tea", "milk"] {
        assert_eq!(ada.post(&format!("/cart/{sku}"), "").await.status, StatusCode::OK);
    }
    let guest = ada.cookie.clone().expect("a session for the cart");
    let refused = ada.post("/login", "name=ada&password=wrong").await;
    assert_eq!((refused.status, refused.cookie), (StatusCode::UNAUTHORIZED, None));
    assert_eq!(ada.get("/me").await.status, StatusCode::TEMPORARY_REDIRECT);

    let answer = ada.post("/login", &format!("{ADA}&next=/cart")).await;
    assert_eq!((answer.status, answer.location.as_deref()), (StatusCode::SEE_OTHER, Some("/cart")));
    let user = ada.cookie.clone().expect("a session");
    assert_ne!(user, guest, "a login rotates the session");
    for _ in 0..nodes.len() {
        assert_eq!(ada.get("/me").await.body, "ada");
        assert_eq!(ada.get("/cart").await.body, r#"["tea","milk"]"#);
        let mut thief = ada.with(Some(&guest));
        assert_eq!(thief.get("/me").await.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(thief.get("/cart").await.body, "[]");
    }

    let mut bob = Browser::new(nodes);
    bob.post("/login", "name=bob&password=builder").await;
    assert_eq!((bob.get("/me").await.body.as_str(), bob.get("/cart").await.body.as_str()), ("bob", "[]"));

    let answer = ada.post("/logout", "").await;
    assert_eq!((answer.status, answer.location.as_deref()), (StatusCode::SEE_OTHER, Some("/login")));
    assert_eq!(ada.cookie, None, "a logout removes the cookie");
    for _ in 0..nodes.len() {
        let mut thief = ada.with(Some(&user));
        assert_eq!(thief.get("/me").await.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(thief.get("/cart").await.body, "[]");
        assert_eq!(bob.get("/me").await.body, "bob");
    }
    assert_eq!(ada.post("/login", ADA).await.status, StatusCode::SEE_OTHER);
    assert_eq!(ada.get("/me").await.body, "ada");
    assert_eq!(ada.get("/cart").await.body, "[]");
}

#[tokio::test]
async fn a_visit_is_the_same_on_three_nodes_as_with_the_memory_store_on_one() {
    let gate = Arc::new(Barrier::new(2));
    visit(&[app(tower_sessions::MemoryStore::default(), &gate)]).await;
    let service = Service::start().await;
    visit(&service.nodes).await;
    assert_eq!(service.dropped(), 0);
}

#[tokio::test]
async fn a_visit_is_the_same_on_a_cluster() {
    let (cluster, gate) = (scalekit_testkit::Redis::cluster(3).await, Arc::new(Barrier::new(2)));
    let config = RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG);
    let nodes = [(); 3].map(|()| {
        let redis = Redis::open_with(&cluster.urls(), config.clone()).unwrap();
        app(TowerSessionStore::new(RedisStore::new(redis)).budget(LONG).unwrap(), &gate)
    });
    for _ in 0..5 {
        visit(&nodes).await;
    }
}

#[tokio::test]
async fn users_stay_signed_in_over_a_deployment() {
    let mut service = Service::start().await;
    let mut ada = signed_in(&service.nodes).await;
    ada.post("/cart/salt", "").await;
    service.deploy();
    ada.nodes = service.nodes.clone();
    for _ in 0..3 {
        assert_eq!(ada.get("/me").await.body, "ada");
        assert_eq!(ada.get("/cart").await.body, r#"["salt"]"#);
    }
}

#[tokio::test]
async fn requests_in_parallel_on_all_nodes_lose_nothing() {
    let service = Service::start().await;
    for _ in 0..10 {
        let mut ada = signed_in(&service.nodes).await;
        let mut tabs = JoinSet::new();
        for sku in ["tea", "milk", "salt", "rice"] {
            let mut tab = ada.clone();
            // Tabs differ in the node that is next.
            ada.get("/login").await;
            tabs.spawn(async move { tab.post(&format!("/cart/{sku}"), "").await.status });
        }
        assert_eq!(tabs.join_all().await, [StatusCode::OK; 4]);
        assert_eq!(ada.get("/cart").await.body, r#"["tea","milk","salt","rice"]"#);
        assert_eq!(ada.get("/me").await.body, "ada");
    }
}

#[tokio::test]
async fn a_request_that_another_overtakes_keeps_what_both_have_written() {
    let service = Service::start().await;
    let mut ada = signed_in(&service.nodes).await;
    let mut tab = ada.clone();
    let slow = tokio::spawn(async move { tab.post("/slow/tea", "").await });
    service.gate.wait().await;
    assert_eq!(ada.post("/cart/milk", "").await.status, StatusCode::OK);
    service.gate.wait().await;
    assert_eq!(slow.await.unwrap().status, StatusCode::OK);
    assert_eq!(ada.get("/cart").await.body, r#"["tea","milk"]"#);
}

#[tokio::test]
async fn a_write_that_a_logout_overtakes_is_dropped_and_no_error() {
    let service = Service::start().await;
    let mut ada = signed_in(&service.nodes).await;
    let (cookie, mut tab) = (ada.cookie.clone(), ada.clone());
    let slow = tokio::spawn(async move { tab.post("/slow/tea", "").await });
    service.gate.wait().await;
    assert_eq!(ada.post("/logout", "").await.status, StatusCode::SEE_OTHER);
    service.gate.wait().await;
    let answer = slow.await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(service.dropped(), 1);
    assert_eq!(common::live_keys(&service.server).await, Vec::<String>::new());
    for _ in 0..3 {
        assert_eq!(ada.with(cookie.as_deref()).get("/me").await.status, StatusCode::TEMPORARY_REDIRECT);
    }
}

#[tokio::test]
async fn the_dump_of_redis_holds_no_cookie() {
    let service = Service::start().await;
    let mut ada = signed_in(&service.nodes).await;
    ada.post("/cart/rice", "").await;
    let dump = service.server.dump_everything().await;
    let holds = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("rice") && holds("axum-login.data"), "the dump shows what is stored");
    let (_, id) = ada.cookie.as_deref().unwrap().split_once('=').unwrap();
    assert_eq!(id.len(), 22);
    assert!((0..=id.len() - 8).all(|at| !holds(&id[at..at + 8])));
}
