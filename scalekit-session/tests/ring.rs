//! Keys that change while the nodes serve, and nodes whose keys differ.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::{Router, http::StatusCode};
use common::{Browser, LONG, patient, redis, shop, signed_in};
use scalekit_core::{KeyRing, ManualClock, redis::cmd};
use scalekit_session::{Cookie, MemoryStore, RedisStore, Sessions, SessionsBuilder, Store};
use scalekit_testkit::{Proxy, wait_until};

const OLD: (&str, [u8; 32]) = ("old", [1; 32]);
const NEW: (&str, [u8; 32]) = ("new", [2; 32]);
const HOUR: Duration = Duration::from_secs(3_600);

fn ring(keys: &[(&str, [u8; 32])]) -> KeyRing {
    KeyRing::from_keys(keys.iter().copied()).unwrap()
}

fn builder(store: impl Store, ring: &KeyRing) -> SessionsBuilder {
    let builder = Sessions::builder(store, ring.clone()).namespace("shop").cookie(Cookie::dev("id"));
    builder.request_budget(LONG)
}

async fn used(sessions: &Sessions) {
    signed_in(&shop(sessions), "acme", "ada").await;
}

/// Whether each of these has found that the rings differ.
async fn find(nodes: &[&Sessions], differ: bool) {
    wait_until("each node knows of the others", LONG, async || {
        nodes.iter().all(|node| node.metrics().rings_differ == differ)
    })
    .await;
}

#[tokio::test]
async fn a_key_is_exchanged_on_one_node_after_the_other_and_no_session_is_lost() {
    let server = redis().await;
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let rings: Vec<KeyRing> = (0..3).map(|_| ring(&[OLD])).collect();
    let node = |ring| {
        let store = RedisStore::new(patient(&server.url()));
        builder(store, ring).clock(clock.clone()).rotate_every(Some(HOUR)).build().unwrap()
    };
    let nodes: Vec<Sessions> = rings.iter().map(node).collect();
    let apps: Vec<Router> = nodes.iter().map(shop).collect();
    let mut browsers = Vec::new();
    for app in &apps {
        let mut guest = Browser::new(app);
        guest.post("/cart/tea/1").await;
        browsers.extend([guest, signed_in(app, "acme", "ada").await]);
    }
    let mut given = 0;
    for keys in [[OLD].as_slice(), &[OLD, NEW], &[NEW, OLD]] {
        for at in 0..3 {
            let reload = rings[at].reload(ring(keys)).unwrap();
            assert_eq!(reload.warning, None, "{reload:?}");
            for browser in &mut browsers {
                for app in &apps {
                    let answer = browser.on(app).send_only("POST", "/cart/tea/1", "").await;
                    let read = browser.on(app).send_only("GET", "/all", "").await;
                    assert_eq!((answer.status, read.status), (StatusCode::OK, StatusCode::OK));
                    given += answer.cookies().len() + read.cookies().len();
                    assert!(read.json()["cart"]["tea"].as_i64().unwrap() > 0, "the session was lost");
                }
            }
            // Who signs in at one is known at all, and all of a user's sessions are listed under any key.
            let new = signed_in(&apps[at], "acme", "ada").await;
            for app in &apps {
                assert_eq!(new.on(app).send_only("GET", "/me", "").await.status, StatusCode::OK);
            }
            browsers.push(new);
            let users = browsers.len() - 3;
            let listed = browsers[1].on(&apps[at]).send_only("GET", "/sessions", "").await.json();
            assert_eq!(listed.as_array().unwrap().len(), users);
        }
    }
    assert_eq!(given, 0, "a key of the ring is no reason for a new cookie");
    // In passing, each cookie comes to be signed by the new key; then nothing asks for the old one any more.
    clock.advance(HOUR);
    for browser in &mut browsers {
        assert_eq!(browser.get("/all").await.cookies().len(), 1);
        browser.get("/all").await;
    }
    let uses = || rings.iter().map(|ring| ring.uses()[1].1).sum::<u64>();
    let before = uses();
    for browser in &mut browsers {
        assert_eq!(
            browser.get("/all").await.json()["user"].is_null(),
            browser.get("/me").await.status != 200
        );
    }
    assert_eq!((uses(), rings[0].uses()[1].0.as_str()), (before, "old"), "not safe to drop");
    for ring_of_node in &rings {
        assert_eq!(ring_of_node.reload(ring(&[NEW])).unwrap().warning, None);
    }
    for browser in &mut browsers {
        assert!(!browser.get("/all").await.json()["lineage"].is_null(), "lost with the old key");
    }
    assert!(nodes.iter().all(|node| !node.metrics().rings_differ), "an alarm without a reason");
}

#[tokio::test]
async fn a_node_with_a_ring_of_its_own_is_found_by_all_and_forgotten_when_it_has_the_right_one() {
    let server = redis().await;
    let rings: Vec<KeyRing> = vec![ring(&[OLD]), ring(&[OLD, NEW]), KeyRing::generate().unwrap()];
    let node = |ring| builder(RedisStore::new(patient(&server.url())), ring).build().unwrap();
    let nodes: Vec<Sessions> = rings.iter().map(node).collect();
    let (one, two, odd) = (&nodes[0], &nodes[1], &nodes[2]);
    used(one).await;
    used(two).await;
    let heard = async || {
        let heard: usize = patient(&server.url()).query(cmd("HLEN").arg("shop:nodes")).await.unwrap();
        heard
    };
    wait_until("two have met", LONG, async || heard().await == 2).await;
    find(&[one, two], false).await;
    used(odd).await;
    find(&[one, two, odd], true).await;
    assert_eq!(rings[2].reload(ring(&[NEW, OLD])).unwrap().added.len(), 2);
    // It signs with a key that one of the others does not have.
    find(&[two], false).await;
    find(&[one, odd], true).await;
    assert_eq!(rings[0].reload(ring(&[OLD, NEW])).unwrap().warning, None);
    find(&[one, two, odd], false).await;
    // What they tell each other opens nothing.
    let dump = String::from_utf8_lossy(&server.dump_everything().await).into_owned();
    for ring in &rings {
        let tag = ring.sign("session cookie", b"");
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!dump.contains(&hex[..16]));
    }
    let ttl: i64 = patient(&server.url()).query(cmd("PTTL").arg("shop:nodes")).await.unwrap();
    assert!((1..=10_000).contains(&ttl), "it outlives the nodes: {ttl}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_no_stranger_and_one_that_does_not_take_part_is_not_heard() {
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let store = MemoryStore::with_clock(clock.clone());
    let node = |keys: &[(&str, [u8; 32])]| builder(store.clone(), &ring(keys));
    let stays = node(&[OLD]).build().unwrap();
    let silent = node(&[NEW]).compare_rings(false).build().unwrap();
    used(&stays).await;
    used(&silent).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!stays.metrics().rings_differ && !silent.metrics().rings_differ);
    let goes = node(&[NEW]).build().unwrap();
    used(&goes).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(stays.metrics().rings_differ && goes.metrics().rings_differ);
    drop(goes);
    clock.advance(Duration::from_secs(11));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!stays.metrics().rings_differ);
    // Other services have rings of their own.
    let other = node(&[NEW]).namespace("blog").build().unwrap();
    used(&other).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!stays.metrics().rings_differ && !other.metrics().rings_differ);
}

#[tokio::test]
async fn a_store_that_is_away_is_no_alarm_and_no_end() {
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    let url = format!("redis://{}", proxy.addr());
    let one = builder(RedisStore::new(patient(&url)), &ring(&[OLD])).build().unwrap();
    used(&one).await;
    proxy.cut().await;
    let two = builder(RedisStore::new(patient(&server.url())), &ring(&[NEW])).build().unwrap();
    used(&two).await;
    assert!(!one.metrics().rings_differ);
    proxy.heal().await;
    find(&[&one, &two], true).await;
}
