//! A Cluster's master is killed and its replica promoted: what was replicated is there, nobody is signed out meanwhile.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{StatusCode, header},
};
use common::{Answer, Browser, LONG, ring, shop, signed_in, with};
use scalekit_core::redis::{Redis, RedisConfig, cmd};
use scalekit_session::{Cookie, RedisStore, Sessions};
use scalekit_testkit::{RedisCluster, evidence, full, wait_until};
use serde_json::json;
use tokio::task::JoinSet;

const USERS: usize = 18;
/// Those with a higher number have signed out before the master dies.
const STAYING: usize = 12;

/// An application whose store waits as long as it takes.
fn calm(cluster: &RedisCluster) -> Router {
    let config = RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG);
    let redis = Redis::open_with(&cluster.urls(), config).unwrap();
    shop(&with(Sessions::builder(RedisStore::new(redis), ring())))
}

/// One with the budgets that users have.
fn real(cluster: &RedisCluster) -> Router {
    let redis = Redis::open_with(&cluster.urls(), RedisConfig::default()).unwrap();
    let sessions = Sessions::builder(RedisStore::new(redis), ring());
    shop(&sessions.namespace("shop").cookie(Cookie::dev("id")).build().unwrap())
}

/// What one user's requests came to while the master died.
struct Visit {
    user: usize,
    browser: Browser,
    done: u64,
    refused: u64,
}

/// Reads and writes in turn until told to stop; whatever happens, the answer is never that of one signed out.
async fn visit(user: usize, mut browser: Browser, stop: Arc<AtomicBool>) -> Visit {
    let (mut done, mut refused) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        for (method, path) in [("POST", "/views"), ("GET", "/me"), ("GET", "/all")] {
            let answer = browser.send(method, path, "").await;
            check(&answer, user, path);
            if path == "/all" && answer.status == StatusCode::OK {
                assert_eq!(answer.json()["user"], json!(["acme", name(user)]), "anonymous: {answer:?}");
            }
            if path == "/views" {
                *(if answer.status.is_success() { &mut done } else { &mut refused }) += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Visit { user, browser, done, refused }
}

fn check(answer: &Answer, user: usize, path: &str) {
    let fine = answer.status.is_success() || answer.status == StatusCode::SERVICE_UNAVAILABLE;
    assert!(fine, "user {user}, {path}: {answer:?}");
    if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        assert!(answer.headers.contains_key(header::RETRY_AFTER), "{answer:?}");
    }
    assert!(answer.cookies().is_empty(), "user {user}, {path}: the cookie was touched: {answer:?}");
}

/// Comes back with cookies of sessions that were signed out; none may open anything.
async fn haunt(former: Vec<Browser>, stop: Arc<AtomicBool>) -> u64 {
    let mut asked = 0;
    while !stop.load(Ordering::SeqCst) {
        for browser in &former {
            let answer = browser.send_only("GET", "/me", "").await;
            let out = [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status);
            assert!(out, "a sign-out was undone: {answer:?}");
            asked += 1;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    asked
}

fn name(user: usize) -> String {
    format!("user{user}")
}

async fn views(browser: &Browser) -> u64 {
    let answer = browser.send_only("GET", "/all", "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let all = answer.json();
    assert!(!all["user"].is_null(), "signed out: {all}");
    all["views"].as_u64().unwrap()
}

/// The place of the master with the most sessions.
async fn busiest(cluster: &RedisCluster) -> usize {
    let mut most = (0, 0);
    for (place, node) in cluster.nodes().iter().enumerate() {
        let sessions = node.keys().await.iter().filter(|key| key.contains(":s:")).count();
        most = most.max((sessions, place));
    }
    assert!(most.0 > 0, "no session anywhere");
    most.1
}

async fn replicated(cluster: &RedisCluster) {
    for (master, replica) in cluster.nodes().iter().zip(cluster.replicas()) {
        let offset = master.replication_offset().await;
        wait_until("it is replicated", LONG, async || replica.replication_offset().await >= offset).await;
    }
}

/// Nothing reaches the replicas from here on.
async fn cut_replication(cluster: &RedisCluster) {
    for (master, replica) in cluster.nodes().iter().zip(cluster.replicas()) {
        replica.admin(cmd("CONFIG").arg(&["SET", "masteruser", "nobody", "masterauth", "wrong"])).await;
        master.admin(cmd("CLIENT").arg(&["KILL", "TYPE", "replica"])).await;
        wait_until("the replica is cut off", LONG, async || {
            let info = replica.admin(cmd("INFO").arg("replication")).await;
            info.contains("master_link_status:down\r")
        })
        .await;
    }
}

/// What the table at `RedisStore` says may be lost, and that it is no more than that.
#[tokio::test]
async fn what_was_not_replicated_is_lost_as_stated() {
    let cluster = scalekit_testkit::Redis::cluster_builder(3).replicas().start().await;
    let app = calm(&cluster);
    // All sessions of a user are on one master.
    let mut changed = signed_in(&app, "acme", "ada").await;
    assert!(changed.post("/locale/de").await.status.is_success());
    let mut leaving = signed_in(&app, "acme", "ada").await;
    let victim = busiest(&cluster).await;
    let mut elsewhere = None;
    for user in 0.. {
        let before = cluster.nodes()[victim].keys().await.len();
        let browser = signed_in(&app, "acme", &name(user)).await;
        if cluster.nodes()[victim].keys().await.len() == before {
            elsewhere = Some(browser);
            break;
        }
    }
    let mut elsewhere = elsewhere.unwrap();
    replicated(&cluster).await;
    cut_replication(&cluster).await;

    assert!(changed.post("/locale/fr").await.status.is_success());
    assert!(elsewhere.post("/locale/fr").await.status.is_success());
    let copy = leaving.clone();
    assert!(leaving.post("/sign-out").await.status.is_success());
    assert_eq!(copy.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    let new = signed_in(&app, "acme", "ada").await;
    let (master, replica) = (&cluster.nodes()[victim], &cluster.replicas()[victim]);
    master.kill().await;
    wait_until("the replica is promoted", LONG, async || replica.is_master().await).await;
    wait_until("served again", LONG, async || {
        changed.send_only("GET", "/me", "").await.status == StatusCode::OK
    })
    .await;

    // A change: the session as it was before.
    assert_eq!(changed.get("/all").await.json()["locale"], "de");
    assert!(changed.post("/locale/fr").await.status.is_success());
    assert_eq!(changed.get("/all").await.json()["locale"], "fr");
    // A sign-out: the copy of the cookie opens the session again; it can be ended for good.
    assert_eq!(copy.send_only("GET", "/me", "").await.status, StatusCode::OK);
    assert!(copy.send_only("POST", "/sign-out", "").await.status.is_success());
    assert_eq!(copy.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    // A sign-in: they sign in again.
    assert_eq!(new.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
    // The sessions of other masters have lost nothing.
    assert_eq!(elsewhere.get("/all").await.json()["locale"], "fr");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replicated_is_kept_and_nobody_is_signed_out() {
    let cluster = scalekit_testkit::Redis::cluster_builder(3).replicas().start().await;
    let (calm, real) = (calm(&cluster), real(&cluster));
    let (mut users, mut former) = (Vec::new(), Vec::new());
    for user in 0..USERS {
        let mut browser = signed_in(&calm, "acme", &name(user)).await;
        for _ in 0..5 {
            assert!(browser.post("/views").await.status.is_success());
        }
        if user < STAYING {
            users.push(browser);
            continue;
        }
        let copy = browser.on(&real);
        assert!(browser.post("/sign-out").await.status.is_success());
        former.push(copy);
    }
    // All of this is on two servers now; what follows may be lost with one.
    replicated(&cluster).await;
    let (mut before, victim) = (Vec::new(), busiest(&cluster).await);
    for browser in &users {
        before.push(views(browser).await);
    }
    assert_eq!(before, [5; STAYING]);

    let stop = Arc::new(AtomicBool::new(false));
    let mut visits = JoinSet::new();
    for (user, browser) in users.iter().enumerate() {
        visits.spawn(visit(user, browser.on(&real), Arc::clone(&stop)));
    }
    let haunting = tokio::spawn(haunt(former.clone(), Arc::clone(&stop)));
    tokio::time::sleep(Duration::from_millis(if full() { 5_000 } else { 300 })).await;
    let (master, replica) = (&cluster.nodes()[victim], &cluster.replicas()[victim]);
    let endangered = master.keys().await.iter().filter(|key| key.contains(":s:")).count();
    master.kill().await;
    wait_until("the replica is promoted", LONG, async || replica.is_master().await).await;
    let promoted = Instant::now();
    for browser in &users {
        let browser = browser.on(&real);
        wait_until("served again", LONG, async || {
            browser.send_only("GET", "/me", "").await.status == StatusCode::OK
        })
        .await;
    }
    let served = promoted.elapsed();
    tokio::time::sleep(Duration::from_millis(if full() { 5_000 } else { 100 })).await;
    stop.store(true, Ordering::SeqCst);

    let visits = visits.join_all().await;
    let asked = haunting.await.unwrap();
    let (mut done, mut refused, mut lost, mut short) = (0, 0, 0, 0);
    for visit in visits {
        let count = views(&visit.browser.on(&calm)).await;
        let (least, most) = (before[visit.user], before[visit.user] + visit.done + visit.refused);
        assert!((least..=most).contains(&count), "user {}: {least} to {most}, {count}", visit.user);
        let missing = (least + visit.done).saturating_sub(count);
        (done, refused, lost) = (done + visit.done, refused + visit.refused, lost + missing);
        short += usize::from(missing > 0);
    }
    assert!(short <= endangered, "{short} users lost writes, {endangered} were on the dead master");
    assert!(refused > 0, "nobody noticed: the attack missed");
    for browser in &former {
        let answer = browser.on(&calm).send_only("GET", "/me", "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "a sign-out was undone");
    }
    if full() {
        assert!(served < Duration::from_secs(1), "{served:?}");
    }
    evidence(
        "sessions on a Cluster, a master killed (SIGKILL) and its replica promoted",
        &format!("{} writes, {asked} requests with cookies that were signed out", done + refused),
        &format!(
            "nothing replicated lost, {lost} acknowledged writes of the last moment lost, {refused} answered by 503, \
             nobody signed out, no sign-out undone; served {served:.0?} after the promotion"
        ),
    );
}
