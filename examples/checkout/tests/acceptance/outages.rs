//! Redis or Postgres is gone under load: what needs it says so at once, the rest goes on, and nothing is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::kit::{Answer, Browser, Servers, Shop, evidence, key, percentile, size};

/// What a client may expect at a moment.
const UP: u8 = 0;
/// Going or coming: either answer is right.
const BETWEEN: u8 = 1;
const DOWN: u8 = 2;
const OVER: u8 = 3;

/// How long a server is gone.
fn outage() -> Duration {
    size(Duration::from_millis(1500), Duration::from_secs(5))
}

/// What one client has seen.
struct Seen {
    browser: Browser,
    user: String,
    added: i64,
    /// Additions that nobody knows about.
    unknown: i64,
    /// What took how long to be refused.
    refused: Vec<Duration>,
}

/// One request, timed, with the phase in which it began and ended, if that was one and the same.
async fn timed<T>(phase: &AtomicU8, request: impl Future<Output = T>) -> (T, Duration, u8) {
    let (before, start) = (phase.load(Ordering::SeqCst), Instant::now());
    let answer = request.await;
    let (took, after) = (start.elapsed(), phase.load(Ordering::SeqCst));
    (answer, took, if before == after { before } else { BETWEEN })
}

/// Judges the answer of a route that needs the server; true if it succeeded.
fn judge(answer: &Answer, phase: u8) -> bool {
    if answer.status == 503 {
        answer.assert_unavailable();
        return false;
    }
    assert!(answer.status.is_success(), "{answer:?}");
    assert_ne!(phase, DOWN, "served while the server is down: {answer:?}");
    true
}

impl Seen {
    /// A busy machine may refuse at any time; what counts is how the outage is refused.
    fn note(&mut self, took: Duration, when: u8) {
        if when == DOWN {
            self.refused.push(took);
        }
    }

    /// Adds to the cart and looks at it, and at what needs no session, until it is over.
    async fn shop(mut self, phase: Arc<AtomicU8>) -> Self {
        while phase.load(Ordering::SeqCst) != OVER {
            let (added, took, when) = timed(&phase, self.browser.add("mug", 1)).await;
            if judge(&added.unwrap(), when) {
                self.added += 1;
            } else {
                self.unknown += 1;
                self.note(took, when);
            }
            let (cart, took, when) = timed(&phase, self.browser.get("/cart")).await;
            if !judge(&cart.unwrap(), when) {
                self.note(took, when);
            }
            for path in ["/", "/catalog", "/recommendations", "/healthz", "/readyz"] {
                let answer = self.browser.get(path).await.unwrap();
                assert_eq!(answer.status, 200, "{path} needs no store: {answer:?}");
            }
            sleep(Duration::from_millis(10)).await;
        }
        self
    }
}

async fn shoppers(shop: &Shop, count: usize) -> Vec<Seen> {
    let mut all = Vec::new();
    for number in 0..count {
        let user = format!("user-{number}");
        let browser = Browser::of(&shop.url, &format!("tenant-{}", number % 5), &user).await;
        all.push(Seen { browser, user, added: 0, unknown: 0, refused: Vec::new() });
    }
    all
}

/// An outage between two quiet times, the first and the last of which are judged strictly too.
async fn around<D, U>(phase: &AtomicU8, down: impl FnOnce() -> D, recovered: impl FnOnce() -> U)
where
    D: Future<Output = ()>,
    U: Future<Output = ()>,
{
    sleep(Duration::from_millis(500)).await;
    phase.store(BETWEEN, Ordering::SeqCst);
    down().await;
    phase.store(DOWN, Ordering::SeqCst);
    sleep(outage()).await;
    phase.store(BETWEEN, Ordering::SeqCst);
    recovered().await;
    phase.store(UP, Ordering::SeqCst);
    sleep(Duration::from_millis(500)).await;
    phase.store(OVER, Ordering::SeqCst);
}

async fn wait_served(browser: &Browser, path: &str) {
    let served = || async { browser.get(path).await.is_ok_and(|answer| answer.status == 200) };
    scalekit_testkit::wait_until("it is served again", crate::kit::SOON, served).await;
}

#[derive(Clone, Copy, PartialEq)]
enum Loss {
    Killed,
    Stopped,
}

async fn redis_is_gone(loss: Loss) {
    let servers = Servers::durable().await;
    let shop = Shop::start(&servers.program()).await;
    let probe = Browser::of(&shop.url, "acme", "probe").await;
    let phase = Arc::new(AtomicU8::new(UP));
    let all = shoppers(&shop, size(6, 20)).await;
    let tasks: Vec<_> = all.into_iter().map(|one| tokio::spawn(one.shop(Arc::clone(&phase)))).collect();
    let down = async || match loss {
        Loss::Killed => servers.redis.kill().await,
        Loss::Stopped => servers.redis.pause().await,
    };
    let recovered = async || {
        match loss {
            Loss::Killed => servers.redis.restart().await,
            Loss::Stopped => servers.redis.resume(),
        }
        wait_served(&probe, "/cart").await;
    };
    around(&phase, down, recovered).await;
    let mut refused = Vec::new();
    let (mut added, clients) = (0, tasks.len());
    for task in tasks {
        let seen = task.await.unwrap();
        assert_eq!(seen.browser.look("/session").await.status, 200, "{} is signed out", seen.user);
        let there: i64 = seen.browser.cart().await.iter().map(|(_, quantity)| quantity).sum();
        let bounds = seen.added..=seen.added + seen.unknown;
        assert!(bounds.contains(&there), "{}: {there} in the cart, not {bounds:?}", seen.user);
        added += seen.added;
        refused.extend(seen.refused);
    }
    probe.fill("tea", 1).await;
    let order_id = probe.checkout_until_decided(&key(), "tok_visa").await.order_id();
    servers.provider.wait_charged(&order_id).await;
    shop.assert_no_panic();
    report(
        loss_name(loss),
        &mut refused,
        Duration::from_millis(250),
        &format!("{added} additions of {clients} users kept, nobody signed out"),
    );
}

fn loss_name(loss: Loss) -> &'static str {
    if loss == Loss::Killed { "Redis killed" } else { "Redis stopped (SIGSTOP)" }
}

/// A time is judged where there are enough of them, and a row is written.
fn report(what: &str, refused: &mut [Duration], limit: Duration, outcome: &str) {
    assert!(!refused.is_empty(), "nothing was refused");
    let p99 = percentile(refused, 0.99);
    eprintln!("{what}: {} refused, p99 {p99:?}", refused.len());
    if scalekit_testkit::full() {
        assert!(refused.len() >= 200, "{} samples are too few", refused.len());
        assert!(p99 <= limit, "p99 of the refusals is {p99:?}, more than {limit:?}");
    }
    let how_often = format!("{:?}, {} requests refused by 503 with Retry-After", outage(), refused.len());
    evidence(what, &how_often, &format!("p99 of the refusals {} ms; {outcome}", p99.as_millis()));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_is_killed_signs_nobody_out() {
    redis_is_gone(Loss::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_hangs_signs_nobody_out() {
    redis_is_gone(Loss::Stopped).await;
}

/// Orders over and over; a key that was refused is repeated until it is decided.
async fn order_through(
    browser: Browser,
    user: String,
    phase: Arc<AtomicU8>,
) -> (Browser, String, Vec<String>, Vec<Duration>) {
    let (mut orders, mut refused, mut carts) = (Vec::new(), Vec::new(), 0);
    while phase.load(Ordering::SeqCst) != OVER {
        browser.fill("mug", 1).await;
        let key = key();
        loop {
            let (answer, took, when) = timed(&phase, browser.checkout(&key, "tok_visa")).await;
            let answer = answer.unwrap();
            if judge(&answer, when) {
                orders.push(answer.order_id());
                break;
            }
            if when == DOWN {
                refused.push(took);
            }
            let (list, took, when) = timed(&phase, browser.get("/orders")).await;
            if !judge(&list.unwrap(), when) && when == DOWN {
                refused.push(took);
            }
            let (cart, _, when) = timed(&phase, browser.get("/cart")).await;
            if cart.unwrap().status == 200 && when == DOWN {
                carts += 1;
            }
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(browser.get("/catalog").await.unwrap().status, 200);
    }
    assert!(carts > 0, "the cart of {user} does not need Postgres");
    (browser, user, orders, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_is_gone_doubles_no_order() {
    let servers = Servers::durable().await;
    let shop = Shop::start(&servers.program()).await;
    let ledger = servers.ledger().await;
    // Tenants of both shards, so that both are known to be back.
    let mut probes = Vec::new();
    for number in 0..5 {
        probes.push(Browser::of(&shop.url, &format!("tenant-{number}"), "probe").await);
    }
    let phase = Arc::new(AtomicU8::new(UP));
    let mut tasks = Vec::new();
    for Seen { browser, user, .. } in shoppers(&shop, size(6, 20)).await {
        tasks.push(tokio::spawn(order_through(browser, user, Arc::clone(&phase))));
    }
    let recovered = async || {
        servers.postgres.restart().await;
        for probe in &probes {
            wait_served(probe, "/orders").await;
        }
    };
    around(&phase, async || servers.postgres.quit().await, recovered).await;
    let (mut refused, mut count) = (Vec::new(), 0);
    for task in tasks {
        let (browser, user, mut orders, times) = task.await.unwrap();
        orders.sort_unstable();
        let stored = ledger.wait_settled(&user).await;
        assert_eq!(stored.iter().map(|order| order.order_id.clone()).collect::<Vec<_>>(), orders, "{user}");
        for order in &stored {
            servers.provider.assert_charged_once(&order.order_id, 1650, "tok_visa");
        }
        assert_eq!(browser.cart().await, [], "{user}: what was ordered is no longer in the cart");
        count += orders.len();
        refused.extend(times);
    }
    assert_eq!(servers.provider.orders().len(), count);
    shop.assert_no_panic();
    let outcome = format!("{count} orders, each key 1 order and 1 charge");
    report("Postgres stopped (SIGQUIT)", &mut refused, Duration::from_secs(1), &outcome);
}
