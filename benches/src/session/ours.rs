//! Ours behind every route of the session benchmarks.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::Path,
    routing::{get, post},
};
use scalekit::{
    Error, ErrorKind, KeyRing, Principal, Result,
    redis::Redis,
    session::{Counter, Field, List, RedisStore, Session, Sessions},
};

use super::{KEYS, PROFILE_BYTES};

const PROFILE: Field<String> = Field::new("profile");
const VISITS: Counter = Counter::new("visits");
const NOTE: Field<String> = Field::new("note");
const RECENT: Field<Vec<u32>> = Field::new("recent");
const LOG: List<u32> = List::new("log", 1_000);

pub(super) fn app(redis: SocketAddr) -> Router {
    let redis = Redis::open(&format!("redis://{redis}")).unwrap();
    // The same ring in every process, as the nodes of one service have it.
    let ring = KeyRing::from_keys([("bench", [7; 32])]).unwrap();
    let sessions = Sessions::builder(RedisStore::new(redis), ring).build().unwrap();
    Router::new()
        .route("/guest", post(write))
        .route("/sign-in", post(sign_in))
        .route("/untouched", get(|| async { "hello" }))
        .route("/read", get(read))
        .route("/write", get(write))
        .route("/change", get(change))
        .route("/count", get(count))
        .route("/all/{client}/{round}", get(all))
        .route("/state", get(state))
        .layer(sessions.layer())
}

async fn sign_in(session: Session) -> Result<()> {
    session.sign_in(&Principal::user("ada").tenant("acme"), "bench").await?;
    session.set(PROFILE, &"x".repeat(PROFILE_BYTES))
}

async fn read(session: Session) -> Result<String> {
    session.get(PROFILE).await?.ok_or_else(|| Error::new(ErrorKind::Corrupt, "no profile"))
}

async fn write(session: Session) -> Result<()> {
    session.set(NOTE, &super::fresh())
}

async fn change(session: Session) -> Result<()> {
    session.update(RECENT, super::keep_ten).await.map(drop)
}

async fn count(session: Session) -> Result<()> {
    session.incr(VISITS, 1)
}

async fn all(session: Session, Path((client, round)): Path<(usize, u32)>) -> Result<()> {
    session.incr(VISITS, 1)?;
    session.set(Field::<u32>::new(KEYS[client]), &round)?;
    session.append(LOG, &round)
}

async fn state(session: Session) -> Result<String> {
    let mut state = vec![session.counter(VISITS).await?, session.list(LOG).await?.len() as i64];
    for key in KEYS {
        state.push(i64::from(session.get(Field::<u32>::new(key)).await?.unwrap_or_default()));
    }
    Ok(super::told(&state))
}
