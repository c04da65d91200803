//! tower-sessions with its store in Redis.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::Path,
    routing::{get, post},
};
use scalekit_bench::session::{KEYS, PROFILE_BYTES, Service, fresh, keep_ten, told};
use time::Duration;
use tower_sessions::{Expiry, Session, SessionManagerLayer};
use tower_sessions_redis_store::{RedisStore, fred::prelude::*};

/// With `sliding`, a read prolongs the session, as ours does; that takes `always_save`.
pub(super) async fn service(redis: SocketAddr, sliding: bool) -> Service {
    let pool =
        Pool::new(Config::from_url(&format!("redis://{redis}")).unwrap(), None, None, None, 1).unwrap();
    pool.init().await.unwrap();
    let layer = SessionManagerLayer::new(RedisStore::new(pool))
        .with_expiry(Expiry::OnInactivity(Duration::minutes(30)))
        .with_always_save(sliding);
    let app = Router::new()
        .route("/guest", post(write))
        .route("/sign-in", post(sign_in))
        .route("/untouched", get(|| async { "hello" }))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/change", get(change))
        .route("/count", get(count))
        .route("/all/{client}/{round}", get(all))
        .route("/state", get(state))
        .layer(layer);
    let name = match sliding {
        true => "tower-sessions 0.14 (sliding: `always_save`)",
        false => "tower-sessions 0.14 (only a write prolongs)",
    };
    Service { name, app, ours: false }
}

async fn sign_in(session: Session) {
    session.cycle_id().await.unwrap();
    session.insert("user", ("acme", "ada")).await.unwrap();
    session.insert("profile", "x".repeat(PROFILE_BYTES)).await.unwrap();
}

async fn read(session: Session) -> String {
    session.get("profile").await.unwrap().unwrap()
}

async fn write(session: Session) {
    session.insert("note", fresh()).await.unwrap();
}

async fn change(session: Session) {
    let mut recent: Vec<u32> = session.get("recent").await.unwrap().unwrap_or_default();
    keep_ten(&mut recent);
    session.insert("recent", recent).await.unwrap();
}

async fn count(session: Session) {
    let visits: i64 = session.get("visits").await.unwrap().unwrap_or_default();
    session.insert("visits", visits + 1).await.unwrap();
}

async fn all(session: Session, Path((client, round)): Path<(usize, u32)>) {
    count(session.clone()).await;
    session.insert(KEYS[client], round).await.unwrap();
    let mut log: Vec<u32> = session.get("log").await.unwrap().unwrap_or_default();
    log.push(round);
    session.insert("log", log).await.unwrap();
}

async fn state(session: Session) -> String {
    let log: Vec<u32> = session.get("log").await.unwrap().unwrap_or_default();
    let mut state = vec![session.get("visits").await.unwrap().unwrap_or_default(), log.len() as i64];
    for key in KEYS {
        state.push(session.get(key).await.unwrap().unwrap_or_default());
    }
    told(&state)
}
