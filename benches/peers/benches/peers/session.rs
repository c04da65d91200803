//! The round trips and the CPU of a session in Redis, beside tower-sessions.

use std::net::SocketAddr;

use axum::{
    Router,
    routing::{get, post},
};
use scalekit_bench::{
    duel::block_on,
    session::{self, PROFILE_BYTES, Service},
};
use scalekit_testkit::{Proxy, Redis};
use time::Duration;
use tower_sessions::{Expiry, Session, SessionManagerLayer, session::Error};
use tower_sessions_redis_store::{RedisStore, fred::prelude::*};

pub(crate) fn run() {
    block_on(async {
        let redis = Redis::start().await;
        let proxy = Proxy::to(redis.addr()).await;
        session::count_round_trips(&proxy, &services(proxy.addr()).await).await;
        session::measure(&redis, &services(redis.addr()).await).await;
    });
}

async fn services(redis: SocketAddr) -> Vec<Service> {
    vec![session::scalekit(redis), tower_sessions(redis, true).await, tower_sessions(redis, false).await]
}

/// With `sliding`, a read prolongs the session, as ours does; that takes `always_save`.
async fn tower_sessions(redis: SocketAddr, sliding: bool) -> Service {
    let pool =
        Pool::new(Config::from_url(&format!("redis://{redis}")).unwrap(), None, None, None, 1).unwrap();
    pool.init().await.unwrap();
    let layer = SessionManagerLayer::new(RedisStore::new(pool))
        .with_expiry(Expiry::OnInactivity(Duration::minutes(30)))
        .with_always_save(sliding);
    let app = Router::new()
        .route("/sign-in", post(sign_in))
        .route("/untouched", get(|| async { "hello" }))
        .route("/read", get(read))
        .route("/count", get(count))
        .layer(layer);
    let name = match sliding {
        true => "tower-sessions 0.14 (sliding: `always_save`)",
        false => "tower-sessions 0.14 (only a write prolongs)",
    };
    Service { name, app }
}

async fn sign_in(session: Session) {
    session.cycle_id().await.unwrap();
    session.insert("user", ("acme", "ada")).await.unwrap();
    session.insert("profile", "x".repeat(PROFILE_BYTES)).await.unwrap();
}

async fn read(session: Session) -> String {
    session.get("profile").await.unwrap().unwrap()
}

async fn count(session: Session) {
    count_up(&session).await.unwrap();
}

async fn count_up(session: &Session) -> Result<(), Error> {
    let visits: i64 = session.get("visits").await?.unwrap_or_default();
    session.insert("visits", visits + 1).await
}
