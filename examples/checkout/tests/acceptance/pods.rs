//! Pods come and go under shoppers: nobody is signed out, and no line or order is lost or doubled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use scalekit_testkit::{Rng, wait_until};
use tokio::time::{Instant, sleep};

use crate::kit::{Answer, Browser, Provider, SOON, Shop, embedded, evidence, key, rng, size};

const SKUS: [&str; 4] = ["mug", "tea", "honey", "bread"];
const PODS: u64 = 3;

/// What one shopper knows of the shop.
struct Shopper {
    browser: Browser,
    user: String,
    rng: Rng,
    /// By sku, how many are in the cart or in orders: at least what was acknowledged, at most what was asked.
    bounds: BTreeMap<&'static str, (i64, i64)>,
    /// By order id, what was acknowledged.
    orders: BTreeMap<String, Answer>,
    unanswered: u32,
}

impl Shopper {
    async fn shop(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            match self.rng.below(10) {
                0..=4 => self.add().await,
                5 => self.checkout().await,
                6 | 7 => self.look("/cart").await,
                8 => self.look("/session").await,
                _ => self.look("/orders").await,
            }
            sleep(Duration::from_millis(self.rng.below(60))).await;
        }
    }

    /// Not repeated where nobody knows: an addition is not idempotent.
    async fn add(&mut self) {
        let (sku, quantity) = (*self.rng.pick(&SKUS), 1 + self.rng.below(5) as i64);
        let answer = self.browser.add(sku, quantity).await;
        let (low, high) = self.bounds.entry(sku).or_default();
        *high += quantity;
        match answer {
            Ok(answer) if answer.status == 204 => *low += quantity,
            other => self.pod_is_gone(other),
        }
    }

    async fn checkout(&mut self) {
        let answer = self.browser.checkout_until_decided(&key(), "tok_visa").await;
        match answer.status.as_u16() {
            201 => {
                let other = self.orders.insert(answer.order_id(), answer);
                assert!(other.is_none(), "two keys have one order: {other:?}");
            }
            409 => assert_eq!(answer.problem(), "cart-empty"),
            _ => panic!("{answer:?}"),
        }
    }

    async fn look(&mut self, path: &str) {
        match self.browser.get(path).await {
            Ok(answer) if answer.status == 200 => {}
            other => self.pod_is_gone(other),
        }
    }

    /// The only other answer there may be.
    fn pod_is_gone(&mut self, answer: Result<Answer, String>) {
        let answer = answer.unwrap_or_else(|error| panic!("the front hung up on {}: {error}", self.user));
        assert!([502, 503].contains(&answer.status.as_u16()), "{}: {answer:?}", self.user);
        answer.problem();
        self.unanswered += 1;
    }

    /// What the shop says in the end is what it acknowledged.
    async fn assert_nothing_lost(&self) {
        let listed = self.browser.get("/orders").await.unwrap().json();
        let listed = listed["orders"].as_array().unwrap();
        let ids: BTreeSet<_> = listed.iter().map(|order| order["order_id"].as_str().unwrap()).collect();
        let known: BTreeSet<_> = self.orders.keys().map(String::as_str).collect();
        assert_eq!(ids, known, "orders of {}", self.user);
        assert_eq!(listed.len(), ids.len());
        let mut seen: BTreeMap<String, i64> = BTreeMap::new();
        let ordered = self.orders.values().flat_map(Answer::lines);
        for (sku, quantity) in self.browser.cart().await.into_iter().chain(ordered) {
            *seen.entry(sku).or_default() += quantity;
        }
        for (sku, (low, high)) in &self.bounds {
            let there = seen.get(*sku).copied().unwrap_or_default();
            assert!((*low..=*high).contains(&there), "{}: {there} {sku}, not {low} to {high}", self.user);
        }
    }
}

/// Stops, kills and starts pods, one at least always up; returns how often it did what.
async fn unrest(shop: &mut Shop, rng: &mut Rng, length: Duration) -> [u32; 3] {
    let (begin, mut down, mut done) = (Instant::now(), BTreeSet::new(), [0; 3]);
    while begin.elapsed() < length || done[..2].contains(&0) {
        let pod = 1 + rng.below(PODS);
        if down.remove(&pod) {
            shop.command("start", "started", pod).await;
            done[2] += 1;
        } else if down.len() as u64 + 1 < PODS {
            let kill = rng.one_in(2);
            let (verb, reply) = if kill { ("kill", "killed") } else { ("stop", "stopped") };
            shop.command(verb, reply, pod).await;
            done[usize::from(kill)] += 1;
            down.insert(pod);
        }
        sleep(Duration::from_millis(100 + rng.below(400))).await;
    }
    for pod in down {
        shop.command("start", "started", pod).await;
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn shoppers_do_not_notice_that_pods_come_and_go() {
    let mut rng = rng();
    let provider = Provider::start().await;
    let args = ["--listen", "127.0.0.1:0", "--pods", "3", "--payments", provider.url()];
    let mut shop = Shop::start(&embedded().args(args)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut shoppers = Vec::new();
    for number in 0..size(8, 50) {
        let user = format!("user-{number}");
        // Several tenants, so that both shards have work.
        let browser = Browser::of(&shop.url, &format!("tenant-{}", number % 7), &user).await;
        let mut shopper = Shopper {
            browser,
            user,
            rng: Rng::new(rng.next_u64()),
            bounds: BTreeMap::new(),
            orders: BTreeMap::new(),
            unanswered: 0,
        };
        let stop = Arc::clone(&stop);
        shoppers.push(tokio::spawn(async move {
            shopper.shop(&stop).await;
            shopper
        }));
    }
    let [stops, kills, starts] = unrest(&mut shop, &mut rng, Duration::from_secs(size(6, 60))).await;
    stop.store(true, Ordering::SeqCst);
    let (mut orders, mut unanswered) = (BTreeMap::new(), 0);
    for shopper in shoppers {
        let shopper = shopper.await.unwrap();
        shopper.assert_nothing_lost().await;
        unanswered += shopper.unanswered;
        for (id, answer) in &shopper.orders {
            let status = || async {
                shopper.browser.get(&format!("/orders/{id}")).await.unwrap().json()["status"] == "paid"
            };
            wait_until("an order is paid", SOON, status).await;
            orders.insert(id.clone(), answer.json()["total_cents"].as_i64().unwrap());
        }
    }
    assert!(!orders.is_empty(), "nobody ordered anything");
    assert_eq!(provider.orders(), orders.keys().cloned().collect(), "charged is what was ordered");
    orders.iter().for_each(|(id, total)| provider.assert_charged_once(id, *total, "tok_visa"));
    shop.assert_no_panic();
    let what =
        format!("{stops} stops, {kills} kills, {starts} starts of pods under {} shoppers", size(8, 50));
    let outcome = format!(
        "{} orders, none lost or doubled; {unanswered} requests without an answer; nobody signed out",
        orders.len()
    );
    evidence("pods that come and go, SQLite and memory", &what, &outcome);
}
