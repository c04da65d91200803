//! Redis that is away: nobody is signed out, and what needs no session goes on.

use std::time::Duration;

use scalekit_testkit::{Redis, wait_until};
use serde_json::json;

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_sessions_are_503_and_nobody_is_signed_out() {
    let redis = Redis::builder().appendonly_always().start().await;
    let shop = Shop::open(&["--redis", &redis.url()]).await;
    let ada = shop.customer("acme", "ada").await;
    ada.add("tea", 1).await;

    redis.kill().await;
    wait_until("the shop notices", Duration::from_secs(10), || async {
        ada.get_once("/cart").await.status == 503
    })
    .await;
    let checkout = ada.send(ada.checkout_request("k", "tok_visa")).await;
    for answer in [ada.get_once("/session").await, ada.get_once("/cart").await, checkout] {
        answer.is_problem(503, "unavailable");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    let ready = ada.get_once("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["sessions"], json!({"store": "redis", "state": "down"}));
    assert_eq!(ada.get("/catalog").await.status, 200);

    redis.restart().await;
    assert_eq!(ada.cart().await, json!([{"sku": "tea", "quantity": 1}]));
    ada.checkout("k", "tok_visa").await.order_id();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_without_redis() {
    let shop = Shop::open(&["--redis=redis://127.0.0.1:1"]).await;
    assert_eq!(shop.visitor().get("/catalog").await.status, 200);
    let answer = shop.visitor().post("/session", &json!({"tenant": "acme", "user": "ada"})).await;
    // A commit that failed may have arrived, as far as the layer can tell.
    answer.is_problem(503, "outcome-unknown");
}
