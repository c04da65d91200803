//! axum_session with its store in Redis.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::Path,
    routing::{get, post},
};
use axum_session::{Session as Of, SessionConfig, SessionLayer, SessionStore};
use axum_session_redispool::SessionRedisPool;
use redis_pool::RedisPool;
use scalekit_bench::session::{KEYS, PROFILE_BYTES, Service, fresh, keep_ten, told};
use time::Duration;

type Session = Of<SessionRedisPool>;

/// A read prolongs the session, as ours does, and no process keeps it for longer than its requests take: with other
/// settings another process reads what is old. Requests of one process that overlap share what the first has loaded.
pub(super) async fn service(redis: SocketAddr) -> Service {
    let client = redis::Client::open(format!("redis://{redis}")).unwrap();
    let config = SessionConfig::default()
        .with_lifetime(Duration::minutes(30))
        .with_memory_lifetime(Duration::ZERO)
        .with_always_save(true)
        .with_ip_and_user_agent(false);
    let store =
        SessionStore::new(Some(SessionRedisPool::from(RedisPool::from(client))), config).await.unwrap();
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
        .layer(SessionLayer::new(store));
    Service { name: "axum_session 0.22 (sliding: `always_save`)", app, ours: false }
}

async fn sign_in(session: Session) {
    session.renew();
    session.set("user", ("acme", "ada"));
    session.set("profile", "x".repeat(PROFILE_BYTES));
}

async fn read(session: Session) -> String {
    session.get("profile").unwrap()
}

async fn write(session: Session) {
    session.set("note", fresh());
}

async fn change(session: Session) {
    let mut recent: Vec<u32> = session.get("recent").unwrap_or_default();
    keep_ten(&mut recent);
    session.set("recent", recent);
}

async fn count(session: Session) {
    let visits: i64 = session.get("visits").unwrap_or_default();
    session.set("visits", visits + 1);
}

async fn all(session: Session, Path((client, round)): Path<(usize, u32)>) {
    count(session.clone()).await;
    session.set(KEYS[client], round);
    let mut log: Vec<u32> = session.get("log").unwrap_or_default();
    log.push(round);
    session.set("log", log);
}

async fn state(session: Session) -> String {
    let log: Vec<u32> = session.get("log").unwrap_or_default();
    let mut state = vec![session.get("visits").unwrap_or_default(), log.len() as i64];
    state.extend(KEYS.map(|key| session.get::<i64>(key).unwrap_or_default()));
    told(&state)
}
