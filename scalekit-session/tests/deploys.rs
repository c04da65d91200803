//! Deployments of another version: old and new nodes side by side, with another schema and another key.
#![cfg(all(feature = "redis", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use axum::{
    Router,
    routing::{get, post},
};
use common::{patient, redis, with};
use scalekit_core::{Error, ErrorKind, KeyRing, Principal, Result, http::principal_layer};
use scalekit_session::{
    Counter, Field, RedisStore, Session, Sessions,
    testing::{Node, RollingRestart},
};
use scalekit_testkit::{evidence, seed};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
struct Old {
    visits: u64,
}

/// The new version says where, too.
#[derive(Default, Serialize, Deserialize)]
struct New {
    visits: u64,
    #[serde(default)]
    places: Vec<String>,
}

const OLD: Field<Old> = Field::new("visits");
const NEW: Field<New> = Field::new("visits").versioned(2, |_, old| Some(old));
/// Only the new version knows this one: how many places it has written.
const PLACES: Counter = Counter::new("places");

async fn old_write(session: Session) -> Result<()> {
    session.update(OLD, |state| state.visits += 1).await.map(drop)
}

async fn old_read(session: Session) -> Result<String> {
    Ok(session.get(OLD).await?.unwrap_or_default().visits.to_string())
}

async fn new_write(session: Session) -> Result<()> {
    session.incr(PLACES, 1)?;
    let change = |state: &mut New| {
        state.visits += 1;
        state.places.push("basket".to_owned());
    };
    session.update(NEW, change).await.map(drop)
}

async fn new_read(session: Session) -> Result<String> {
    let state = session.get(NEW).await?.unwrap_or_default();
    let written = session.counter(PLACES).await?;
    if state.places.len() as i64 != written {
        return Err(Error::new(ErrorKind::Internal, "an old node dropped what it does not know"));
    }
    Ok(state.visits.to_string())
}

fn app(sessions: &Sessions, is_new: bool) -> Router {
    let visits = if is_new { get(new_read).post(new_write) } else { get(old_read).post(old_write) };
    Router::new()
        .route("/visits", visits)
        .route_layer(principal_layer(sessions.principal()))
        .route("/sign-in", post(async |s: Session| s.sign_in(&Principal::user("ada"), "test").await))
        .layer(sessions.layer())
}

/// Two deployments: the first brings the new schema and accepts the new key, the second signs with it.
#[tokio::test(flavor = "multi_thread")]
async fn another_schema_and_another_key_lose_nobody_and_nothing() {
    let server = redis().await;
    let url = server.url();
    let node = move |node: Node| {
        let (old, new) = (("old", [1; 32]), ("new", [2; 32]));
        let keys = match node.generation {
            0 => vec![old],
            1 => vec![old, new],
            _ => vec![new, old],
        };
        let ring = KeyRing::from_keys(keys).unwrap();
        app(&with(Sessions::builder(RedisStore::new(patient(&url)), ring)), node.generation > 0)
    };
    let report = RollingRestart::new(node)
        .sign_in(|visitor| visitor.post("/sign-in"))
        .write(|visitor| visitor.post("/visits"))
        .read(|visitor| visitor.get("/visits"))
        .users(50)
        .rollouts(2)
        // An update of one field by two at once is a conflict that the client may have to repeat.
        .parallel_writes(1)
        .seed(seed())
        .run()
        .await;
    report.assert_none_failed();
    assert_eq!((report.restarts, report.lost_sessions, report.lost_updates, report.re_logins), (6, 0, 0, 0));
    evidence(
        "rolling restarts with two schemas and two rings side by side",
        &format!(
            "{} users, {} restarts, {} updates",
            report.users, report.restarts, report.confirmed_updates
        ),
        "0 lost sessions, 0 lost updates, 0 re-logins",
    );
}
