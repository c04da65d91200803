//! The process dies at each step of an order; the customer repeats the request.

use std::sync::Arc;

use scalekit_testkit::{Redis, RedisServer, at_once, wait_until};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, PATIENCE},
    provider::Provider,
    shards::Shards,
    shop::{Shop, program},
};

/// Key rings must agree over a restart, or nobody would be signed in.
const RING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/end_to_end/ring.txt");

impl Browser {
    /// Asks for an order, and sees the shop die over it.
    pub(crate) async fn checkout_crashes(&self, key: &str) {
        let answer = self.patiently(|| self.checkout_request(key, "tok_visa")).await;
        assert!(answer.is_none(), "{answer:?}");
    }

    /// Waits until the cart holds this: what follows a commit may be a moment late.
    pub(crate) async fn cart_becomes(&self, items: Value) {
        wait_until(&format!("the cart is {items}"), PATIENCE, || async { self.cart().await == items }).await;
    }
}

const STEPS: [&str; 7] = [
    "before-claim",
    "after-claim",
    "after-business-write",
    "before-commit",
    "after-commit",
    "before-session-commit",
    "before-response",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_step_neither_loses_nor_doubles_the_order() {
    let redis = Arc::new(Redis::start().await);
    // All at once: each waits for the lease of the relay that died.
    at_once(STEPS.len(), |at| crash_and_repeat(STEPS[at], Arc::clone(&redis))).await;
}

async fn crash_and_repeat(step: &'static str, redis: Arc<RedisServer>) {
    let (shards, provider) = (Shards::create().await, Provider::open().await);
    let program = program(&shards).args([
        format!("--redis={}", redis.url()),
        format!("--key-ring={RING}"),
        format!("--payments={}", provider.url),
    ]);
    let crashing = Shop::start(program.clone().failpoint(step)).await;
    let ada = crashing.customer("acme", step).await;
    ada.add("tea", 2).await;
    ada.checkout_crashes("k").await;
    crashing.running.wait_exit().await;

    let shop = Shop::start(program).await;
    let ada = ada.moved_to(&shop.url);
    let answer = ada.checkout("k", "tok_visa").await;
    let order_id = answer.order_id();
    let committed = matches!(step, "after-commit" | "before-session-commit" | "before-response");
    assert_eq!(answer.header("idempotent-replayed").is_some(), committed, "{step}");
    ada.cart_becomes(json!([])).await;
    assert_eq!(ada.orders().await.len(), 1, "{step}");
    assert_eq!(ada.settled(&order_id).await, "paid", "{step}");
    assert_eq!(provider.charged(), [order_id], "{step}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cart_whose_order_lost_its_session_commit_is_put_right_by_the_next_key() {
    let (shards, redis) = (Shards::create().await, Redis::start().await);
    let program = program(&shards).args([format!("--redis={}", redis.url()), format!("--key-ring={RING}")]);
    let crashing = Shop::start(program.clone().failpoint("before-session-commit")).await;
    let ada = crashing.customer("acme", "ada").await;
    ada.add("tea", 2).await;
    ada.checkout_crashes("first").await;
    crashing.running.wait_exit().await;

    let shop = Shop::start(program).await;
    let ada = ada.moved_to(&shop.url);
    assert_eq!(ada.cart().await, json!([{"sku": "tea", "quantity": 2}]), "the session knows nothing yet");
    ada.add("mug", 1).await;
    let answer = ada.checkout("second", "tok_visa").await;
    answer.is_problem(409, "cart-ordered");
    assert!(answer.header("retry-after").is_some());
    ada.cart_becomes(json!([{"sku": "mug", "quantity": 1}])).await;
    // The retry orders what is left, and the first key's replay changes nothing any more.
    let answer = ada.checkout("second", "tok_visa").await;
    answer.order_id();
    assert_eq!(answer.json()["items"], json!([{"sku": "mug", "quantity": 1}]));
    ada.add("honey", 1).await;
    ada.checkout("first", "tok_visa").await.order_id();
    ada.cart_becomes(json!([{"sku": "honey", "quantity": 1}])).await;
    assert_eq!(ada.orders().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_can_die_before_the_session_commit_too() {
    let (shards, redis) = (Shards::create().await, Redis::start().await);
    let program = program(&shards).args([format!("--redis={}", redis.url()), format!("--key-ring={RING}")]);
    let shop = Shop::start(program.clone().failpoint("after-commit")).await;
    let mut ada = shop.customer("acme", "ada").await;
    ada.add("tea", 2).await;
    ada.checkout_crashes("k").await;
    shop.running.wait_exit().await;
    // A replay executes nothing, but it carries out what the execution left undone. Its step is the session's own.
    let shop = Shop::start(program.clone().failpoint("before-session-commit")).await;
    ada = ada.moved_to(&shop.url);
    assert_eq!(ada.cart().await, json!([{"sku": "tea", "quantity": 2}]), "the session knows nothing yet");
    ada.checkout_crashes("k").await;
    shop.running.wait_exit().await;

    let shop = Shop::start(program).await;
    ada = ada.moved_to(&shop.url);
    assert_eq!(ada.cart().await, json!([{"sku": "tea", "quantity": 2}]), "nor after the second death");
    let answer = ada.checkout("k", "tok_visa").await;
    assert_eq!(answer.header("idempotent-replayed"), Some("true"), "{answer:?}");
    ada.cart_becomes(json!([])).await;
    assert_eq!(ada.orders().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_cashier_charges_once_and_marks_the_order() {
    for (step, calls) in [("after-charge", 2), ("after-settlement", 1)] {
        let (shards, redis, provider) =
            (Shards::create().await, Redis::start().await, Provider::open().await);
        let program = program(&shards).args([
            format!("--redis={}", redis.url()),
            format!("--key-ring={RING}"),
            format!("--payments={}", provider.url),
            "--events=redis".to_owned(),
        ]);
        let crashing = Shop::start(program.clone().failpoint(step)).await;
        let ada = crashing.customer("acme", "ada").await;
        ada.add("tea", 2).await;
        // The cashier may be quicker than the answer.
        let _placed = ada.try_send(ada.checkout_request("k", "tok_visa")).await;
        crashing.running.wait_exit().await;

        let shop = Shop::start(program).await;
        let ada = ada.moved_to(&shop.url);
        let order_id = ada.checkout("k", "tok_visa").await.order_id();
        assert_eq!(ada.settled(&order_id).await, "paid", "{step}");
        assert_eq!(provider.charged(), [order_id], "{step}");
        assert!(provider.calls().len() <= calls, "{step}: {:?}", provider.calls());
    }
}
