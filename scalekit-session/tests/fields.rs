//! Lists, notices that are shown once, and values of another version, through requests.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use axum::{
    Json, Router,
    extract::Path,
    routing::{get, post},
};
use common::{Browser, on_memory, on_redis, redis, shop, signed_in};
use scalekit_core::Result;
use scalekit_session::{Field, List, OnCorrupt, Session, Sessions};
use scalekit_testkit::at_once;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const SEEN: List<u64> = List::new("seen", 20);
const NOTICE: Field<String> = Field::new("notice");

#[derive(Default, Serialize, Deserialize)]
struct V1 {
    count: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct V2 {
    count: u64,
    #[serde(default)]
    by: Vec<String>,
}

const STATE_1: Field<V1> = Field::new("state");
const STATE_2: Field<V2> = Field::new("state").versioned(2, |_, old| Some(old));
const WRONG: Field<u64> = Field::new("notice");
const CALM: Field<u64> = Field::new("notice").on_corrupt(OnCorrupt::Ignore);

async fn see(session: Session, Path(number): Path<u64>) -> Result<()> {
    session.append(SEEN, &number)?;
    session.append(SEEN, &(number + 1))
}

async fn taken(session: Session) -> Result<Json<Value>> {
    Ok(Json(json!([session.take(NOTICE).await?, session.take(NOTICE).await?])))
}

async fn kept(session: Session) -> Result<Json<Value>> {
    session.set(NOTICE, &"new".to_owned())?;
    let own = session.take(NOTICE).await?;
    session.set(NOTICE, &"newer".to_owned())?;
    Ok(Json(json!(own)))
}

async fn calm(session: Session) -> Result<Json<Value>> {
    let refused = session.get(WRONG).await.unwrap_err().to_string();
    Ok(Json(json!([refused, session.get(CALM).await?])))
}

async fn old(session: Session) -> Result<()> {
    session.update(STATE_1, |state| state.count += 1).await.map(drop)
}

async fn new(session: Session, Path(who): Path<String>) -> Result<()> {
    let change = move |state: &mut V2| {
        state.count += 1;
        state.by.push(who.clone());
    };
    session.update(STATE_2, change).await.map(drop)
}

fn app(sessions: &Sessions) -> Router {
    let extra = Router::new()
        .route("/see/{number}", post(see))
        .route("/seen", get(async |s: Session| Ok::<_, scalekit_core::Error>(Json(s.list(SEEN).await?))))
        .route("/notice/{text}", post(async |s: Session, Path(text): Path<String>| s.set(NOTICE, &text)))
        .route("/notice", get(taken))
        .route("/own", get(kept))
        .route("/calm", get(calm))
        .route("/old", post(old))
        .route("/new/{who}", post(new))
        .route("/state", get(async |s: Session| Ok::<_, scalekit_core::Error>(Json(s.get(STATE_2).await?))));
    shop(sessions).merge(extra.layer(sessions.layer()))
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_appends_each_find_their_place() {
    let server = redis().await;
    let apps = [app(&on_redis(&server.url())), app(&on_redis(&server.url()))];
    let browser = signed_in(&apps[0], "acme", "ada").await;
    at_once(9, |client| {
        let browser = browser.on(&apps[client % 2]);
        async move {
            let answer = browser.send_only("POST", &format!("/see/{}", client * 10), "").await;
            assert!(answer.status.is_success());
        }
    })
    .await;
    let mut seen: Vec<u64> =
        serde_json::from_slice(&browser.send_only("GET", "/seen", "").await.body).unwrap();
    for pair in seen.chunks(2) {
        assert_eq!(pair[0] + 1, pair[1], "torn: {seen:?}");
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..9).flat_map(|client| [client * 10, client * 10 + 1]).collect::<Vec<_>>());
    for number in [100, 200] {
        browser.send_only("POST", &format!("/see/{number}"), "").await;
    }
    let kept: Vec<u64> = serde_json::from_slice(&browser.send_only("GET", "/seen", "").await.body).unwrap();
    assert_eq!((kept.len(), &kept[16..]), (20, [100, 101, 200, 201].as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_shown_to_one_of_many() {
    let server = redis().await;
    let apps = [app(&on_redis(&server.url())), app(&on_redis(&server.url()))];
    let browser = signed_in(&apps[0], "acme", "ada").await;
    for round in 0..30 {
        browser.send_only("POST", &format!("/notice/{round}"), "").await;
        let shown = at_once(8, |client| {
            let browser = browser.on(&apps[client % 2]);
            async move { browser.send_only("GET", "/notice", "").await.json() }
        })
        .await;
        let expected = json!([round.to_string(), null]);
        assert_eq!(shown.iter().filter(|one| **one == expected).count(), 1, "round {round}: {shown:?}");
        assert_eq!(shown.iter().filter(|one| **one == json!([null, null])).count(), 7, "round {round}");
    }
}

#[tokio::test]
async fn a_handler_takes_what_it_has_set_itself() {
    let mut browser = Browser::new(&app(&on_memory()));
    browser.post("/notice/old").await;
    assert_eq!(browser.get("/own").await.json(), json!("new"));
    assert_eq!(browser.get("/notice").await.json(), json!(["newer", null]));
}

#[tokio::test]
async fn nodes_of_two_versions_share_a_field() {
    let mut browser = Browser::new(&app(&on_memory()));
    for _ in 0..3 {
        browser.post("/old").await;
        browser.post("/new/ada").await;
    }
    browser.post("/old").await;
    assert_eq!(browser.get("/state").await.json(), json!({"count": 7, "by": ["ada", "ada", "ada"]}));
}

#[tokio::test]
async fn what_cannot_be_read_is_named_or_ignored_and_counted() {
    let sessions = on_memory();
    let mut browser = Browser::new(&app(&sessions));
    browser.post("/notice/text").await;
    let [error, ignored] =
        <[Value; 2]>::try_from(browser.get("/calm").await.json().as_array().unwrap().clone()).unwrap();
    assert_eq!((error, ignored), (json!("the session's field `notice` holds another type"), json!(null)));
    assert_eq!(sessions.metrics().undecodable, 1);
}
