//! Many clients on several nodes and one real Redis: nothing is lost, nothing comes back.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode};
use common::{Browser, live_keys, on_redis, redis, shop, signed_in};
use scalekit_core::redis::cmd;
use scalekit_session::{RedisStore, Sessions};
use scalekit_testkit::{Proxy, RedisServer, Rng, at_once, evidence, full, seed, wait_until};
use serde_json::json;

/// Nodes of one service: their own pool, layer and router each.
fn nodes(server: &RedisServer) -> (Vec<Sessions>, Vec<Router>) {
    let sessions: Vec<Sessions> = (0..3).map(|_| on_redis(&server.url())).collect();
    let apps = sessions.iter().map(shop).collect();
    (sessions, apps)
}

async fn signed_in_keys(server: &RedisServer, live: &[String]) -> usize {
    let redis = common::patient(&server.url());
    let mut users = 0;
    for key in live.iter().filter(|key| key.contains(":s:")) {
        users += redis.query::<usize>(cmd("HEXISTS").arg(key).arg("!u")).await.unwrap();
    }
    users
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_writers_lose_nothing() {
    let rounds = if full() { 1_000 } else { 40 };
    let seed = seed();
    let server = redis().await;
    let (sessions, apps) = nodes(&server);
    let browser = signed_in(&apps[0], "acme", "ada").await;
    let clients = at_once(8, |client| {
        let (apps, browser) = (apps.clone(), browser.clone());
        async move {
            let mut rng = Rng::new(seed ^ client as u64);
            let mut refused = 0;
            for round in 0..rounds {
                let mut calls: Vec<(String, String)> = vec![
                    ("/views".to_owned(), String::new()),
                    ("/cart/tea/2".to_owned(), String::new()),
                    ("/cart/tea/-1".to_owned(), String::new()),
                    (format!("/field/{client}"), format!("{client}-{round}")),
                    (format!("/note/{client}-{round}"), String::new()),
                ];
                // A minus before its plus would meet the floor.
                let minus = calls.remove(2);
                rng.shuffle(&mut calls);
                let at = calls.iter().position(|call| call.0.ends_with("/2")).unwrap();
                calls.insert(at + 1, minus);
                for (path, body) in calls {
                    let node = browser.on(rng.pick(&apps));
                    loop {
                        let answer = node.send_only("POST", &path, &body).await;
                        assert!(answer.cookies().is_empty());
                        match answer.status {
                            StatusCode::OK => break,
                            // The bounded re-runs gave up, and said so: the client may ask again.
                            StatusCode::CONFLICT => {
                                assert!(answer.headers.contains_key("retry-after"));
                                refused += 1;
                            }
                            other => panic!("{path}: {other}"),
                        }
                    }
                }
            }
            refused
        }
    });
    let refused: usize = clients.await.into_iter().sum();
    let all = browser.on(&apps[1]).get("/all").await.json();
    let expected = 8 * rounds;
    assert_eq!((&all["views"], &all["cart"]), (&json!(expected), &json!({ "tea": expected })), "seed {seed}");
    let notes: BTreeSet<&str> =
        all["notes"].as_array().unwrap().iter().filter_map(|note| note.as_str()).collect();
    assert_eq!(notes.len(), expected, "closures were lost, seed {seed}");
    assert_eq!(all["notes"].as_array().unwrap().len(), expected, "closures ran twice, seed {seed}");
    let redis = common::patient(&server.url());
    for client in 0..8 {
        let key = live_keys(&server).await.into_iter().find(|key| key.contains(":s:")).unwrap();
        let value: String =
            redis.query(cmd("HGET").arg(key).arg(common::numbered(client).name())).await.unwrap();
        assert_eq!(value, format!("\"{client}-{}\"", rounds - 1));
    }
    let conflicts: u64 = sessions.iter().map(|one| one.metrics().conflicts).sum();
    let outcome =
        format!("no increment, field or closure lost or doubled; {conflicts} re-runs, {refused} answers 409");
    evidence("8 writers of one session on 3 nodes", &format!("{expected} writes of each kind"), &outcome);
    assert!(conflicts > 0, "nobody met: the attack missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_signed_out_stays_dead() {
    let rounds = if full() { 10_000 } else { 150 };
    let seed = seed();
    let server = redis().await;
    let (sessions, apps) = nodes(&server);
    let mut rng = Rng::new(seed);
    for round in 0..rounds {
        let mut browser = signed_in(&apps[0], "acme", "ada").await;
        browser.post("/cart/tea/1").await;
        let out = ["/sign-out", "/revoke/all"][rng.below(2) as usize];
        let writes = ["/views", "/note/x", "/cart/tea/1", "/locale/de", "/field/1"];
        let plan: Vec<(&str, Router, u64)> = (0..4)
            .map(|at| {
                (if at == 3 { out } else { *rng.pick(&writes) }, rng.pick(&apps).clone(), rng.below(1_500))
            })
            .collect();
        let plan = Arc::new(plan);
        let answers = at_once(4, |client| {
            let (plan, browser) = (plan.clone(), browser.clone());
            async move {
                let (path, app, delay) = &plan[client];
                tokio::time::sleep(Duration::from_micros(*delay)).await;
                (client, browser.on(app).send_only("POST", path, "").await)
            }
        })
        .await;
        for (client, answer) in answers {
            assert!(answer.status.is_success(), "seed {seed}, round {round}: {answer:?}");
            assert_eq!(answer.cookies().len(), usize::from(client == 3), "seed {seed}, round {round}");
        }
        assert_eq!(live_keys(&server).await, Vec::<String>::new(), "seed {seed}, round {round}");
    }
    let gone: u64 = sessions.iter().map(|one| one.metrics().gone).sum();
    let outcome =
        format!("0 keys alive, no answer changed by it; {gone} writes came too late and were dropped");
    evidence("writes race a sign-out", &format!("{rounds} sign-outs"), &outcome);
    assert!(gone > 0, "no write came late: the attack missed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_keeps_what_the_guest_adds_meanwhile() {
    let rounds = if full() { 2_000 } else { 100 };
    let seed = seed();
    let server = redis().await;
    let (sessions, apps) = nodes(&server);
    let mut rng = Rng::new(seed);
    let mut late = 0_u64;
    for round in 0..rounds {
        let mut browser = Browser::new(rng.pick(&apps));
        browser.post("/cart/tea/1").await;
        let delays: Arc<Vec<u64>> = Arc::new((0..2).map(|_| rng.below(2_000)).collect());
        let answers = at_once(2, |client| {
            let (browser, delays, app) = (browser.clone(), delays.clone(), apps[client].clone());
            async move {
                tokio::time::sleep(Duration::from_micros(delays[client])).await;
                let path = ["/cart/tea/1", "/sign-in/acme/ada"][client];
                browser.on(&app).send_only("POST", path, "").await
            }
        })
        .await;
        let [add, sign_in] = answers.try_into().unwrap();
        assert!(add.status.is_success() && add.cookies().is_empty(), "seed {seed}, round {round}: {add:?}");
        browser.keep(&sign_in);
        let all = browser.get("/all").await.json();
        assert_eq!(all["user"], json!(["acme", "ada"]));
        // 2 unless the add came after the sign-in: then its session had ended.
        match all["cart"]["tea"].as_i64() {
            Some(2) => {}
            Some(1) => late += 1,
            other => panic!("seed {seed}, round {round}: {other:?}"),
        }
        browser.post("/sign-out").await;
        // Every guest has left a mark for a minute, so that looking at all keys takes longer and longer.
        if round % 20 == 19 {
            assert_eq!(live_keys(&server).await, Vec::<String>::new(), "seed {seed}, round {round}");
        }
    }
    // Each of them was dropped knowingly; one that was committed and then lost would not be counted.
    assert_eq!(late, sessions.iter().map(|one| one.metrics().gone).sum::<u64>(), "seed {seed}");
    let outcome =
        format!("every addition kept, or ({late}) known to have come after the guest's session ended");
    evidence("additions of a guest race its sign-in", &format!("{rounds} sign-ins"), &outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_beside_a_revocation_is_ended_or_wholly_after() {
    let rounds = if full() { 2_000 } else { 60 };
    let server = redis().await;
    let (_, apps) = nodes(&server);
    for _ in 0..rounds {
        let first = signed_in(&apps[0], "acme", "ada").await;
        let answers = at_once(2, |client| {
            let (first, app) = (first.clone(), apps[client].clone());
            async move {
                match client {
                    0 => first.on(&app).send_only("POST", "/revoke/all", "").await,
                    _ => Browser::new(&app).send_only("POST", "/sign-in/acme/ada", "").await,
                }
            }
        })
        .await;
        assert!(answers.iter().all(|answer| answer.status.is_success()));
        let mut second = Browser::new(&apps[2]);
        second.keep(&answers[1]);
        let listed = second.get("/sessions").await.json();
        let alive = second.get("/me").await.status == StatusCode::OK;
        assert_eq!(listed.as_array().unwrap().len(), usize::from(alive));
        assert_eq!(first.send_only("GET", "/me", "").await.status, StatusCode::UNAUTHORIZED);
        second.post("/revoke/all").await;
        assert_eq!(live_keys(&server).await, Vec::<String>::new());
    }
    let outcome = "the new session is ended and not listed, or alive and listed; 0 keys left";
    evidence("a sign-in races a revocation of all sessions", &format!("{rounds} rounds"), outcome);
}

#[tokio::test]
async fn a_hang_up_at_any_await_leaves_before_or_after() {
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    proxy.set_delay(Duration::from_millis(1));
    let app = shop(&on_redis(&format!("redis://{}", proxy.addr())));
    let direct = shop(&on_redis(&server.url()));
    for path in ["/sign-in/acme/ada", "/note/x", "/cart/tea/1", "/sign-out"] {
        let browser = std::cell::RefCell::new(None::<Browser>);
        let points = {
            // Every attempt starts from a fresh guest's session.
            let mut fresh = Vec::new();
            for _ in 0..40 {
                let mut guest = Browser::new(&direct);
                guest.post("/cart/tea/1").await;
                fresh.push(guest);
            }
            let fresh = std::cell::RefCell::new(fresh);
            scalekit_testkit::drop_at_each_await(
                || {
                    let guest = fresh.borrow_mut().pop().expect("no more than 40 awaits");
                    *browser.borrow_mut() = Some(guest.clone());
                    let guest = guest.on(&app);
                    async move { guest.send_only("POST", path, "").await }
                },
                async |_| {
                    let guest = browser.borrow().clone().unwrap();
                    // The commit goes on in a task of its own; either way, the guest never sees half of it.
                    let seen = guest.send_only("GET", "/all", "").await.json();
                    let cart = seen["cart"]["tea"].as_i64();
                    let allowed: &[Option<i64>] = match path {
                        "/cart/tea/1" => &[Some(1), Some(2)],
                        "/note/x" => &[Some(1)],
                        _ => &[Some(1), None],
                    };
                    assert!(allowed.contains(&cart), "{path}: {seen}");
                    assert_eq!(seen["user"], json!(null));
                },
            )
            .await
        };
        println!("{path}: dropped at {points} awaits");
        assert!(points >= 1, "{path}: {points}");
        if path.starts_with("/sign-in") {
            // A commit that has begun ends, whoever waits for it: no new session without the mark of its old one.
            wait_until("every sign-in has ended", common::LONG, async || {
                let sessions = server.keys().await.into_iter().filter(|key| key.contains(":s:")).count();
                let live = live_keys(&server).await;
                let users = signed_in_keys(&server, &live).await;
                users == sessions - live.iter().filter(|key| key.contains(":s:")).count()
            })
            .await;
        }
    }
    // Every session that a torn sign-in has left is whole.
    let redis = common::patient(&server.url());
    for key in live_keys(&server).await.into_iter().filter(|key| key.contains(":s:")) {
        let fields: Vec<Option<String>> =
            redis.query(cmd("HMGET").arg(&key).arg(&["!v", "!a", "!c", "!l", "cart:tea"])).await.unwrap();
        assert!(fields.iter().all(Option::is_some), "{key}: {fields:?}");
        let ttl: i64 = redis.query(cmd("PTTL").arg(&key)).await.unwrap();
        assert!(ttl > 0, "{key} would live for ever");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions_of_a_user_end_in_one_call() {
    let count = if full() { 10_000 } else { 1_000 };
    let server = redis().await;
    let store = RedisStore::new(common::patient(&server.url()));
    let sessions = common::with(Sessions::builder(store, common::ring()).sessions_per_user(10_000));
    let app = shop(&sessions);
    for _ in 0..count / 100 {
        at_once(100, |client| {
            let app = app.clone();
            // The last one is the caller's own.
            async move {
                if client > 0 {
                    drop(signed_in(&app, "acme", "ada").await)
                }
            }
        })
        .await;
    }
    for _ in 0..count / 100 - 1 {
        signed_in(&app, "acme", "ada").await;
    }
    let mut last = signed_in(&app, "acme", "ada").await;
    assert_eq!(server.keys().await.len(), count + 1, "and the index");
    let start = std::time::Instant::now();
    assert_eq!(last.post("/revoke/all").await.body, count.to_string().as_bytes());
    let took = start.elapsed();
    assert_eq!((last.cookie, live_keys(&server).await), (None, Vec::<String>::new()));
    evidence("all sessions of a user end in one call", &format!("{count} sessions"), &format!("{took:.0?}"));
}
