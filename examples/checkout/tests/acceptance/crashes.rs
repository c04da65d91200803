//! The process is killed at each step of an order; whoever retries with the same key gets one order and one charge.

use std::time::Duration;

use scalekit_testkit::Rng;
use tokio::time::sleep;

use crate::kit::{Browser, Ledger, Servers, Shop, evidence, key, rng, size};

const POINTS: [&str; 7] = [
    "before-claim",
    "after-claim",
    "after-business-write",
    "before-commit",
    "after-commit",
    "before-session-commit",
    "before-response",
];
/// What the seed may put into a cart, with its price.
const PRICES: [(&str, i64); 3] = [("mug", 1650), ("tea", 860), ("lamp", 8950)];

/// Where the process dies.
#[derive(Clone, Copy, Debug)]
enum Death {
    At(&'static str),
    /// By SIGKILL from outside, so long after the request was sent.
    After(Duration),
}

/// One user of one run.
struct Run<'a> {
    servers: &'a Servers,
    ledger: &'a Ledger,
    user: String,
    lines: Vec<(String, i64)>,
    total: i64,
    key: String,
}

impl<'a> Run<'a> {
    fn new(servers: &'a Servers, ledger: &'a Ledger, rng: &mut Rng, number: usize) -> Self {
        let mut prices = PRICES.to_vec();
        rng.shuffle(&mut prices);
        prices.truncate(1 + rng.below(PRICES.len() as u64) as usize);
        prices.sort_unstable();
        let lines: Vec<_> =
            prices.iter().map(|(sku, _)| ((*sku).to_owned(), 1 + rng.below(9) as i64)).collect();
        let total = lines.iter().zip(&prices).map(|((_, quantity), (_, price))| quantity * price).sum();
        Self { servers, ledger, user: format!("user-{number}"), lines, total, key: key() }
    }

    async fn fill(&self, browser: &Browser) {
        for (sku, quantity) in &self.lines {
            browser.fill(sku, *quantity).await;
        }
    }

    /// Orders from a process that dies of it.
    async fn die(&self, browser: &Browser, shop: Shop, death: Death) {
        let url = shop.url.clone();
        let (waiting, key) = (browser.at(&url), self.key.clone());
        let request = tokio::spawn(async move { waiting.checkout(&key, "tok_visa").await });
        match death {
            Death::At(point) => {
                assert!(!shop.running.wait_exit().await.success());
                let answer = request.await.unwrap();
                assert!(answer.is_err(), "{point} was passed: {answer:?}");
            }
            Death::After(delay) => {
                sleep(delay).await;
                shop.running.kill9().await;
                if let Ok(answer) = request.await.unwrap() {
                    assert_eq!(answer.status, 201, "{answer:?}");
                }
            }
        }
    }

    /// What has to hold after the retry in the next process, whatever happened in the one before.
    async fn retry(&self, browser: &Browser) -> String {
        let answer = browser.checkout_until_decided(&self.key, "tok_visa").await;
        let order_id = answer.order_id();
        assert_eq!(answer.lines(), self.lines);
        assert_eq!(answer.json()["total_cents"], self.total);
        assert_eq!(browser.cart().await, [], "what was ordered is no longer in the cart");
        order_id
    }

    /// Asked in the end: a relay that was killed is succeeded after its lease.
    async fn assert_one(&self, order_id: &str) {
        let orders = self.ledger.wait_settled(&self.user).await;
        assert_eq!(orders.len(), 1, "{orders:?}");
        let order = &orders[0];
        assert_eq!((&*order.order_id, &*order.status, order.total_cents), (order_id, "paid", self.total));
        self.servers.provider.assert_charged_once(order_id, self.total, "tok_visa");
        for kind in ["order.placed", "order.paid"] {
            self.ledger.wait_event(order_id, kind).await;
        }
    }

    /// The user goes on shopping, here and on another device; the old key changes nothing any more.
    async fn replay(&self, browser: &Browser, url: &str, order_id: &str) {
        self.fill(browser).await;
        let phone = Browser::of(url, "acme", &self.user).await;
        self.fill(&phone).await;
        for device in [browser, &phone, browser] {
            let replay = device.checkout_until_decided(&self.key, "tok_visa").await;
            assert_eq!(replay.order_id(), order_id);
            assert_eq!(replay.header("idempotent-replayed"), Some("true"), "{replay:?}");
            assert_eq!(browser.cart().await, self.lines, "the first device");
            assert_eq!(phone.cart().await, self.lines, "the second device");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_a_crash_is_one_order_and_one_charge() {
    let mut rng = rng();
    let servers = Servers::start().await;
    let mut deaths: Vec<Death> = POINTS.into_iter().map(Death::At).collect();
    deaths.push(Death::After(Duration::from_millis(1 + rng.below(40))));
    for _ in 1..size(1, 26) {
        deaths.extend(POINTS.into_iter().map(Death::At));
        deaths.push(Death::After(Duration::from_millis(1 + rng.below(40))));
    }
    // The first start creates the tables that the ledger reads.
    drop(Shop::start(&servers.program()).await);
    let ledger = servers.ledger().await;
    let mut orders = Vec::new();
    for (number, death) in deaths.iter().enumerate() {
        let run = Run::new(&servers, &ledger, &mut rng, number);
        eprintln!("{}: {death:?}, {:?}", run.user, run.lines);
        let program = match death {
            Death::At(point) => servers.program().failpoint(point),
            Death::After(_) => servers.program(),
        };
        let shop = Shop::start(&program).await;
        let browser = Browser::of(&shop.url, "acme", &run.user).await;
        run.fill(&browser).await;
        run.die(&browser, shop, *death).await;

        let shop = Shop::start(&servers.program()).await;
        let browser = browser.at(&shop.url);
        let order_id = run.retry(&browser).await;
        run.replay(&browser, &shop.url, &order_id).await;
        shop.assert_no_panic();
        shop.running.kill9().await;
        orders.push((run, order_id));
    }
    let _shop = Shop::start(&servers.program()).await;
    for (run, order_id) in &orders {
        run.assert_one(order_id).await;
    }
    assert_eq!(servers.provider.orders().len(), deaths.len());
    let what =
        format!("SIGKILL at {} steps of an order and at random moments, {} runs", POINTS.len(), deaths.len());
    let outcome = "after a retry with the same key 1 order, 1 charge, 1 `order.placed`, an empty cart; replays change nothing";
    evidence("crashes during a checkout, Redis and two Postgres shards", &what, outcome);
}
