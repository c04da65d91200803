//! What it costs and what happens when Redis is slow, gone, full or emptied of scripts; what a dump shows.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{sync::Arc, time::Duration};

use axum::http::{StatusCode, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{Browser, LONG, on_redis, redis, ring, shop, signed_in, with};
use scalekit_core::{
    ManualClock,
    redis::{Redis, RedisConfig, cmd},
};
use scalekit_session::{Cookie, RedisStore, Sessions};
use scalekit_testkit::{Proxy, Rng, evidence, full, seed, wait_until};
use serde_json::json;

#[tokio::test]
async fn round_trips_are_those_of_the_documentation() {
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    let app = shop(&on_redis(&format!("redis://{}", proxy.addr())));
    let mut browser = signed_in(&app, "acme", "ada").await;
    // Once each, so that Redis has the scripts.
    for path in ["/views", "/note/a", "/cart/tea/1"] {
        browser.post(path).await;
    }
    browser.get("/sessions").await;
    signed_in(&app, "acme", "bob").await.post("/sign-out").await;
    let cost = async |browser: &mut Browser, method: &str, path: &str| {
        proxy.reset();
        let answer = browser.send(method, path, "").await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        proxy.round_trips()
    };
    assert_eq!(cost(&mut browser, "GET", "/static").await, 0);
    assert_eq!(cost(&mut browser, "GET", "/extracts").await, 0);
    assert_eq!(cost(&mut browser, "GET", "/me").await, 1);
    assert_eq!(cost(&mut browser, "GET", "/all").await, 1, "many reads are one load");
    assert_eq!(cost(&mut browser, "POST", "/views").await, 1, "a blind write");
    assert_eq!(cost(&mut browser, "POST", "/cart/tea/1").await, 1, "a blind write");
    assert_eq!(cost(&mut browser, "POST", "/note/b").await, 2, "learn, then commit");
    assert_eq!(cost(&mut browser, "GET", "/sessions").await, 2);
    assert_eq!(cost(&mut browser, "POST", "/sign-in/acme/ada").await, 2, "load, then one script");
    assert_eq!(cost(&mut browser, "POST", "/sign-out").await, 1);
    assert_eq!(cost(&mut browser, "GET", "/all").await, 0);
    assert_eq!(cost(&mut browser, "POST", "/views").await, 1, "a guest's first write");
    browser.post("/sign-out").await;
    let mut guest = Browser::new(&app);
    guest.post("/views").await;
    assert_eq!(cost(&mut guest, "POST", "/sign-in/acme/ada").await, 2, "load, then one script");
}

#[tokio::test]
async fn a_small_change_of_a_large_session_is_a_small_message() {
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    let app = shop(&on_redis(&format!("redis://{}", proxy.addr())));
    let mut browser = signed_in(&app, "acme", "ada").await;
    browser.send("POST", "/field/1", &"v".repeat(20_000)).await;
    browser.post("/views").await;
    proxy.reset();
    browser.post("/views").await;
    let sent = proxy.bytes_up();
    println!("an increment in a session of 20 kB: {sent} bytes");
    assert!(sent < 400, "{sent} bytes for an increment");
}

#[tokio::test]
async fn reads_write_a_deadline_at_most_every_tenth_of_the_idle_time() {
    let server = redis().await;
    let sessions = Sessions::builder(RedisStore::new(common::patient(&server.url())), ring())
        .idle(Duration::from_secs(10));
    let app = shop(&with(sessions));
    let mut browser = signed_in(&app, "acme", "ada").await;
    server.reset_commandstats().await;
    let start = std::time::Instant::now();
    let mut reads = 0_u64;
    while start.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        reads += 1;
    }
    let stats = server.commandstats().await;
    let touched = stats.get("pexpireat").copied().unwrap_or_default();
    println!("{reads} reads, {touched} deadlines written");
    // A quarter of the window: a step is a second, and the last read may come late.
    assert!((1..=3).contains(&touched), "{touched} deadlines written in {reads} reads");
    assert!(!stats.contains_key("hset") && !stats.contains_key("hincrby"), "a read wrote: {stats:?}");
}

#[tokio::test]
async fn forged_cookies_cost_no_command() {
    let count = if full() { 100_000 } else { 4_000 };
    let seed = seed();
    let mut rng = Rng::new(seed);
    let server = redis().await;
    let sessions = on_redis(&server.url());
    let app = shop(&sessions);
    let real = signed_in(&app, "acme", "ada").await.cookie.unwrap();
    let real = real.strip_prefix("id=").unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(real).unwrap();
    server.reset_commandstats().await;
    let mut forged: Vec<String> = Vec::new();
    // Every bit of the ticket.
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        forged.push(URL_SAFE_NO_PAD.encode(&bytes));
    }
    // Every character of the text: each is significant, so that there is one text for one ticket.
    for at in 0..real.len() {
        for with in ["A", "_", "=", "+", "/", "%41", "\"", " "] {
            let text = format!("{}{with}{}", &real[..at], &real[at + 1..]);
            if text != real {
                forged.push(text);
            }
        }
        forged.push(real[..at].to_owned());
    }
    forged.extend([format!("{real}="), format!("{real}A"), format!("\"{real}\""), real.to_uppercase()]);
    while forged.len() < count {
        let length = *rng.pick(&[39, 39, 39, 0, 1, 38, 40, 500]);
        forged.push(URL_SAFE_NO_PAD.encode(rng.bytes(length)));
    }
    let count = forged.len();
    for text in forged {
        let mut browser = Browser::new(&app);
        browser.cookie = Some(format!("id={text}"));
        let answer = browser.send_only("GET", "/me", "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "accepted {text:?} for {real:?}, seed {seed}");
        assert!(answer.cookies().is_empty());
    }
    assert!(server.commandstats().await.is_empty(), "forged cookies reached Redis");
    assert_eq!(sessions.metrics().forged, count as u64);
    evidence("forged cookies", &format!("{count} requests"), "0 Redis commands, each refused and counted");
    // Another service with the same ring is as good as a forger.
    let other = Sessions::builder(RedisStore::new(common::patient(&server.url())), ring());
    let other = other.namespace("other").cookie(Cookie::dev("id")).request_budget(LONG).build().unwrap();
    let mut browser = Browser::new(&shop(&other));
    browser.cookie = Some(format!("id={real}"));
    assert_eq!(browser.get("/me").await.status, StatusCode::UNAUTHORIZED);
    // One good cookie among bad ones of the same name is found.
    let mut browser = Browser::new(&app);
    browser.cookie = Some(format!("id=bad; id={real}"));
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_dump_of_redis_opens_no_session() {
    let server = redis().await;
    let clock = Arc::new(ManualClock::at(1_800_000_000_000));
    let sessions =
        with(Sessions::builder(RedisStore::new(common::patient(&server.url())), ring()).clock(clock.clone()));
    let app = shop(&sessions);
    let mut secrets = Vec::new();
    for user in 0..20 {
        let mut browser = Browser::new(&app);
        browser.post("/cart/tea/1").await;
        secrets.extend(browser.cookie.clone());
        browser.post(&format!("/sign-in/acme/user{user}")).await;
        browser.post("/note/a").await;
        secrets.extend(browser.cookie.clone());
        clock.advance(Duration::from_secs(3_600));
        browser.get("/me").await;
        assert!(!secrets.contains(browser.cookie.as_ref().unwrap()), "not rotated");
        secrets.extend(browser.cookie.clone());
    }
    let dump = server.dump_everything().await;
    let contains = |needle: &[u8]| dump.windows(needle.len()).any(|window| window == needle);
    assert!(contains(b"user7") && contains(b"cart:tea"), "the dump shows nothing: {}", dump.len());
    for secret in secrets {
        let text = secret.strip_prefix("id=").unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        let (secret, mac) = (&bytes[7..23], &bytes[23..]);
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        for needle in
            [text.as_bytes(), secret, mac, hex.as_bytes(), URL_SAFE_NO_PAD.encode(secret).as_bytes()]
        {
            assert!(!contains(needle), "a secret is readable in Redis");
        }
        // A key of Redis, tried as a cookie, is nothing.
    }
    for key in server.keys().await {
        let mut thief = Browser::new(&app);
        thief.cookie = Some(format!("id={}", key.rsplit(':').next().unwrap()));
        assert_eq!(thief.get("/me").await.status, StatusCode::UNAUTHORIZED);
    }
    assert!(format!("{sessions:?}").len() < 1_000 && !format!("{sessions:?}").contains("07070707"));
}

#[tokio::test]
async fn without_redis_nobody_is_signed_out_and_nothing_is_overwritten() {
    let server = scalekit_testkit::Redis::builder().appendonly_always().start().await;
    // The real budgets: a stopped server must not hold requests.
    let sessions = Sessions::builder(RedisStore::new(Redis::open(&server.url()).unwrap()), ring());
    let sessions = sessions.namespace("shop").cookie(Cookie::dev("id")).build().unwrap();
    let app = shop(&sessions);
    let mut browser = Browser::new(&app);
    let up = async |browser: &Browser| browser.send_only("GET", "/me", "").await.status == StatusCode::OK;
    wait_until("signed in", LONG, async || {
        let answer = Browser::new(&app).send_only("POST", "/sign-in/acme/ada", "").await;
        answer.status == StatusCode::NO_CONTENT
    })
    .await;
    let mut answer = Browser::new(&app).send_only("POST", "/sign-in/acme/bob", "").await;
    while answer.status != StatusCode::NO_CONTENT {
        answer = Browser::new(&app).send_only("POST", "/sign-in/acme/bob", "").await;
    }
    browser.keep(&answer);
    wait_until("written", LONG, async || {
        browser.send_only("POST", "/locale/de", "").await.status.is_success()
    })
    .await;

    for stop in ["kill", "pause"] {
        match stop {
            "kill" => server.kill().await,
            _ => server.pause().await,
        }
        for (method, path) in [
            ("GET", "/me"),
            ("GET", "/all"),
            ("POST", "/views"),
            ("POST", "/note/x"),
            ("POST", "/sign-out"),
            ("POST", "/sign-in/acme/eve"),
        ] {
            let answer = browser.send_only(method, path, "").await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{stop}, {path}: {answer:?}");
            assert_eq!(answer.headers[header::RETRY_AFTER], "1", "{stop}, {path}");
            assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
            assert!(answer.cookies().is_empty(), "{stop}, {path}: an outage touched the cookie");
        }
        // What needs no session does not notice.
        for path in ["/static", "/extracts"] {
            assert_eq!(browser.get(path).await.status, StatusCode::OK);
        }
        let anonymous = Browser::new(&app).get("/me").await;
        assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED, "no cookie, nothing to ask");
        match stop {
            "kill" => server.restart().await,
            _ => server.resume(),
        }
        wait_until("sessions are back", LONG, async || up(&browser).await).await;
        if stop == "kill" {
            let mut answer = browser.send_only("GET", "/all", "").await;
            // A busy machine may pass the real budget once more.
            while answer.status != StatusCode::OK {
                answer = browser.send_only("GET", "/all", "").await;
            }
            let all = answer.json();
            assert_eq!((&all["locale"], &all["user"]), (&json!("de"), &json!(["acme", "bob"])), "{stop}");
        }
    }
    assert!(sessions.metrics().unavailable > 0);
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = redis().await;
    let app = shop(&on_redis(&server.url()));
    let mut browser = signed_in(&app, "acme", "ada").await;
    for round in 1..=20 {
        server.script_flush().await;
        assert_eq!(browser.post("/note/a").await.json(), round);
        server.script_flush().await;
        assert_eq!(browser.get("/sessions").await.json().as_array().unwrap().len(), 1);
        assert!(browser.post("/sign-in/acme/ada").await.status.is_success());
    }
    assert_eq!(browser.get("/all").await.json()["notes"].as_array().unwrap().len(), 20);
    server.script_flush().await;
    assert_eq!(browser.post("/revoke/all").await.body, b"1");
}

#[tokio::test]
async fn a_request_may_not_wait_longer_than_its_budget() {
    let server = redis().await;
    let proxy = Proxy::to(server.addr()).await;
    let config = RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG);
    let redis = Redis::open_with(&[format!("redis://{}", proxy.addr())], config).unwrap();
    let sessions = Sessions::builder(RedisStore::new(redis), ring())
        .namespace("shop")
        .cookie(Cookie::dev("id"))
        .request_budget(Duration::from_millis(300))
        .build()
        .unwrap();
    let app = shop(&sessions);
    let warm = shop(&on_redis(&server.url()));
    let mut browser = signed_in(&warm, "acme", "ada").await.on(&app);
    wait_until("connected", LONG, async || {
        browser.send_only("GET", "/me", "").await.status == StatusCode::OK
    })
    .await;
    // A load takes two thirds of the budget, so that the commit has too little left.
    proxy.set_delay(Duration::from_millis(100));
    let answer = browser.post("/note/a").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    proxy.set_delay(Duration::ZERO);
    wait_until("back", LONG, async || browser.send_only("GET", "/me", "").await.status == StatusCode::OK)
        .await;
}

#[tokio::test]
async fn a_redis_that_throws_sessions_away_is_noticed() {
    let server = redis().await;
    let redis = common::patient(&server.url());
    let store = RedisStore::new(redis.clone());
    let calm = store.eviction().await.unwrap();
    assert_eq!((calm.ends_sessions(), calm.evicted_keys), (false, 0), "{calm:?}");
    let set = async |name: &str, value: &str| {
        redis.query::<()>(cmd("CONFIG").arg(&["SET", name, value])).await.unwrap();
    };
    for policy in ["volatile-lru", "allkeys-random"] {
        set("maxmemory-policy", policy).await;
        let evicting = store.eviction().await.unwrap();
        assert!(evicting.ends_sessions() && evicting.policy == policy, "{evicting:?}");
    }
    let info: String = redis.query(cmd("INFO").arg("memory")).await.unwrap();
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    set("maxmemory", &(used.trim().parse::<u64>().unwrap() + 300_000).to_string()).await;
    let app = shop(&on_redis(&server.url()));
    for _ in 0..40 {
        let mut browser = Browser::new(&app);
        browser.send("POST", "/field/1", &"v".repeat(20_000)).await;
    }
    assert!(store.eviction().await.unwrap().evicted_keys > 0);
}
