//! Key rings: what was sealed under a key waits for that key.

use std::{env, fs, path::PathBuf, sync::Mutex, time::Duration};

use reqwest::Method;
use scalekit_testkit::{Redis, wait_until};
use serde_json::json;

use crate::{
    provider::Provider,
    shards::Shards,
    shop::{Shop, program},
};

const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

/// A key ring file; gone with the value.
struct Ring(PathBuf);

impl Ring {
    fn of(keys: &[&str]) -> Self {
        let path = env::temp_dir().join(format!("checkout-ring-{}", uuid::Uuid::now_v7()));
        fs::write(&path, keys.join("\n")).unwrap();
        Self(path)
    }

    fn option(&self) -> String {
        format!("--key-ring={}", self.0.display())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_opened_parks_until_its_key_is_back() {
    parks_until_its_key_is_back("memory").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_in_redis() {
    parks_until_its_key_is_back("redis").await;
}

async fn parks_until_its_key_is_back(events: &str) {
    let (shards, redis, provider) = (Shards::create().await, Redis::start().await, Provider::open().await);
    let program = || {
        let redis = format!("--redis={}", redis.url());
        let events = format!("--events={events}");
        program(&shards).args([redis, events, format!("--payments={}", provider.url)])
    };
    let (old, new, both) = (Ring::of(&[OLD]), Ring::of(&[NEW]), Ring::of(&[NEW, OLD]));
    provider.fail_with(503);
    let shop = Shop::start(program().arg(old.option())).await;
    let ada = shop.customer("acme", "ada").await;
    ada.add("tea", 1).await;
    let order_id = ada.checkout("k", "tok_visa").await.order_id();
    shop.running.kill9().await;
    provider.fail_with(0);

    let shop = Shop::start(program().arg(new.option())).await;
    ada.moved_to(&shop.url).get("/cart").await.is_problem(401, "unauthorized");
    wait_until("the event is parked", Duration::from_secs(30), || async {
        let parked = shop.visitor().get("/ops/data").await.json()["parked"]["rows"].to_string();
        parked.contains("sealed under a key")
    })
    .await;
    shop.running.kill9().await;

    let shop = Shop::start(program().arg(both.option())).await;
    let ada = ada.moved_to(&shop.url);
    assert_eq!(ada.settled(&order_id).await, "paid");
    assert_eq!(provider.charged(), [order_id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_are_one_service() {
    let (shards, redis, ring) = (Shards::create().await, Redis::start().await, Ring::of(&[OLD]));
    let redis_option = format!("--redis={}", redis.url());
    let program = || program(&shards).args([ring.option(), redis_option.clone(), "--events=redis".into()]);
    let (first, second) = (Shop::start(program()).await, Shop::start(program()).await);
    let ada = first.customer("acme", "ada").await;
    ada.add("tea", 1).await;
    let there = ada.moved_to(&second.url);
    let order_id = there.checkout("k", "tok_visa").await.order_id();
    let replay = ada.checkout("k", "tok_visa").await;
    assert_eq!(replay.order_id(), order_id);
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    assert_eq!(ada.settled(&order_id).await, "paid");
    assert_eq!(there.settled(&order_id).await, "paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_under_running_processes() {
    let (shards, redis) = (Shards::create().await, Redis::start().await);
    let rings = [Ring::of(&[OLD]), Ring::of(&[OLD])];
    let program = |ring: &Ring| {
        program(&shards).args([ring.option(), format!("--redis={}", redis.url()), "--events=redis".into()])
    };
    let shops = [Shop::start(program(&rings[0])).await, Shop::start(program(&rings[1])).await];
    let ada = shops[0].customer("acme", "ada").await;
    ada.add("tea", 1).await;
    for (reloads, keys) in [[OLD, NEW].as_slice(), &[NEW, OLD]].into_iter().enumerate() {
        for (ring, shop) in rings.iter().zip(&shops) {
            fs::write(&ring.0, keys.join("\n")).unwrap();
            shop.running.signal("HUP");
            let read = || shop.running.stderr().matches("the key ring was reloaded").count();
            wait_until("the ring is reloaded", Duration::from_secs(30), async || read() == reloads + 1).await;
            for one in &shops {
                assert_eq!(ada.moved_to(&one.url).cart().await[0]["quantity"], 1, "{keys:?}");
                let new = one.customer("acme", "eve").await;
                new.moved_to(&shops[0].url).cart().await;
                new.moved_to(&shops[1].url).cart().await;
            }
        }
    }
    // What nobody can read changes nothing, and is said.
    fs::write(&rings[0].0, "no key").unwrap();
    shops[0].running.signal("HUP");
    let said = || shops[0].running.stderr().contains("line 1: expected ID:BASE64; the keys stay as they are");
    wait_until("it is refused", Duration::from_secs(30), async || said()).await;
    let order_id = ada.checkout("k", "tok_visa").await.order_id();
    assert_eq!(ada.settled(&order_id).await, "paid");
    for shop in &shops {
        assert!(!shop.running.stderr().contains("AAAAAAAA"), "a key is in the log");
        assert!(!shop.running.stderr().contains("refuse the one that it signs with"), "a false alarm");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_charge_parks_and_shows_on_the_page() {
    let provider = Provider::open().await;
    provider.fail_with(400);
    let shop = Shop::open(&["--payments", &provider.url]).await;
    let ada = shop.customer("acme", "ada").await;
    ada.add("tea", 1).await;
    ada.checkout("k", "tok_secret").await.order_id();
    wait_until("the event is parked", Duration::from_secs(30), || async {
        let parked = shop.visitor().get("/ops/data").await.json()["parked"]["rows"].to_string();
        parked.contains("refused the charge with 400")
    })
    .await;
    assert_eq!(provider.calls()[0]["payment_token"], "tok_secret");
    assert!(!shop.running.stderr().contains("tok_secret"), "a token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_is_redriven_over_http() {
    let redis = Redis::start().await;
    let through_redis = [format!("--redis={}", redis.url()), "--events=redis".to_owned()];
    for events in [&[][..], &through_redis] {
        let provider = Provider::open().await;
        provider.fail_with(400);
        // One pod: where a lane goes from one consumer to another, its new one handles what is parked once more, and
        // may set it aside again after the redrive.
        let mut options = vec!["--payments", &provider.url];
        options.extend(events.iter().map(String::as_str));
        let shop = Shop::open(&options).await;
        let ada = shop.customer("acme", "ada").await;
        ada.add("tea", 1).await;
        let order_id = ada.checkout("k", "tok_visa").await.order_id();
        let parked = || async { shop.visitor().get("/ops/data").await.json()["parked"]["rows"].clone() };
        let seen = Mutex::new(None);
        wait_until("the event is parked", Duration::from_secs(30), || async {
            let row = parked().await[0].clone();
            let found = row.to_string().contains("refused the charge with 400");
            *seen.lock().unwrap() = found.then_some(row);
            found
        })
        .await;
        let row = seen.into_inner().unwrap().unwrap();
        let event = row[1].as_str().unwrap();

        let nobody = shop.visitor();
        let redrive = |event: &str| json!({"event": event});
        let unknown = nobody.post("/ops/redrive", &redrive("01890000-0000-7000-8000-000000000000")).await;
        unknown.is_problem(404, "not-found");
        nobody.post("/ops/redrive", &redrive("all")).await.is_problem(422, "invalid");
        // What another site's form could send.
        let form = nobody.request(Method::POST, "/ops/redrive").header("content-type", "text/plain");
        nobody.send(form.body(redrive(event).to_string())).await.is_problem(415, "unsupported-media-type");
        assert_eq!(provider.charged(), Vec::<String>::new());

        provider.fail_with(0);
        assert_eq!(nobody.post("/ops/redrive", &redrive(event)).await.status, 204);
        assert_eq!(ada.settled(&order_id).await, "paid");
        assert_eq!(provider.charged(), [order_id]);
        let emptied = || async { parked().await == json!([]) };
        wait_until("nothing is parked", Duration::from_secs(30), emptied).await;
    }
}
