//! What customers do.

use std::sync::Arc;

use scalekit_testkit::at_once;
use serde_json::json;

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_orders_and_pays() {
    let shop = Shop::open(&[]).await;
    let ada = shop.customer("acme", "ada").await;
    assert_eq!(ada.get("/session").await.json(), json!({"tenant": "acme", "user": "ada"}));
    ada.add("tea", 2).await;
    ada.add("mug", 1).await;
    ada.add("tea", 1).await;
    assert_eq!(ada.cart().await, json!([{"sku": "mug", "quantity": 1}, {"sku": "tea", "quantity": 3}]));

    let answer = ada.checkout("k1", "tok_visa").await;
    let order_id = answer.order_id();
    let order = answer.json();
    assert_eq!(order["tenant"], "acme");
    assert_eq!(order["status"], "placed");
    assert_eq!(order["total_cents"], 3 * 860 + 1_650);
    assert_eq!(order["items"], json!([{"sku": "mug", "quantity": 1}, {"sku": "tea", "quantity": 3}]));
    assert_eq!(ada.cart().await, json!([]));
    assert_eq!(ada.settled(&order_id).await, "paid");

    ada.add("honey", 1).await;
    let second = ada.checkout("k2", "tok_declined").await.order_id();
    assert_eq!(ada.settled(&second).await, "declined");
    let orders = ada.orders().await;
    let listed: Vec<_> = orders.iter().map(|order| order["order_id"].as_str().unwrap()).collect();
    assert_eq!(listed, [&second, &order_id], "newest first");
    let tenants = ada.get("/ops/data").await.json()["tenants"].to_string();
    assert!(tenants.contains("\"acme\""), "{tenants}");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_seen_by_their_user_alone() {
    let shop = Shop::open(&[]).await;
    let ada = shop.customer("acme", "ada").await;
    ada.add("tea", 1).await;
    let order_id = ada.checkout("k1", "tok_visa").await.order_id();
    for (tenant, user) in [("acme", "bob"), ("other", "ada")] {
        let other = shop.customer(tenant, user).await;
        other.get(&format!("/orders/{order_id}")).await.is_problem(404, "not-found");
        assert!(other.orders().await.is_empty());
        // The key is not theirs either: the same key is another key.
        other.checkout("k1", "tok_visa").await.is_problem(409, "cart-empty");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_order_however_often_it_is_sent() {
    let shop = Shop::open(&["--pods=3"]).await;
    let ada = Arc::new(shop.customer("acme", "ada").await);
    ada.add("lamp", 1).await;
    let answers = at_once(20, |_| {
        let ada = Arc::clone(&ada);
        async move { ada.checkout("k1", "tok_visa").await }
    })
    .await;
    let first = answers[0].json();
    for answer in &answers {
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json(), first);
    }
    let replayed = answers.iter().filter(|answer| answer.header("idempotent-replayed") == Some("true"));
    assert_eq!(replayed.count(), 19);
    assert_eq!(ada.orders().await.len(), 1);
    ada.checkout("k1", "tok_other").await.is_problem(422, "idempotency-key-reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cart_is_one_order_whatever_the_keys() {
    let shop = Shop::open(&["--pods=2"]).await;
    for round in 0..5 {
        let ada = Arc::new(shop.customer("acme", &format!("ada-{round}")).await);
        ada.add("lamp", 1).await;
        let answers = at_once(8, |at| {
            let ada = Arc::clone(&ada);
            async move { ada.checkout(&format!("k{at}"), "tok_visa").await }
        })
        .await;
        let placed = answers.iter().filter(|answer| answer.status == 201).count();
        let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 201).collect();
        assert_eq!(placed, 1, "{answers:?}");
        for answer in refused {
            let kind = answer.json()["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            assert!(matches!(kind.as_str(), "cart-ordered" | "cart-empty"), "{answer:?}");
            answer.is_problem(409, &kind);
            assert_eq!(answer.header("retry-after").is_some(), kind == "cart-ordered", "{answer:?}");
        }
        assert_eq!(ada.cart().await, json!([]));
        assert_eq!(ada.orders().await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_during_an_order_is_ordered_or_stays() {
    let shop = Shop::open(&["--pods=2"]).await;
    let ada = shop.customer("acme", "ada").await;
    let mut ordered = 0;
    for round in 0..10 {
        ada.add("tea", 1).await;
        let key = format!("k{round}");
        let (answer, ()) = tokio::join!(ada.checkout(&key, "tok_visa"), ada.add("tea", 1));
        answer.order_id();
        ordered += answer.json()["items"][0]["quantity"].as_i64().unwrap();
    }
    let left = ada.cart().await[0]["quantity"].as_i64().unwrap_or_default();
    assert_eq!(ordered + left, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_as_another_starts_an_empty_cart() {
    let shop = Shop::open(&[]).await;
    let browser = shop.customer("acme", "ada").await;
    browser.add("tea", 1).await;
    let before = browser.moved_to(&shop.url);
    browser.sign_in("acme", "ada").await;
    assert_eq!(browser.cart().await, json!([{"sku": "tea", "quantity": 1}]), "the same user keeps it");
    before.get("/cart").await.is_problem(401, "unauthorized");
    browser.sign_in("acme", "bob").await;
    assert_eq!(browser.cart().await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_everywhere_ends_every_session() {
    let shop = Shop::open(&["--pods=2"]).await;
    let (phone, laptop) = (shop.customer("acme", "ada").await, shop.customer("acme", "ada").await);
    let listed = phone.get("/sessions").await.json();
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|one| one["current"] == true).count(), 1);
    for field in ["id", "device", "created"] {
        assert!(sessions.iter().all(|one| !one[field].is_null()), "{listed}");
    }
    assert_eq!(phone.delete("/session").await.status, 204);
    phone.get("/session").await.is_problem(401, "unauthorized");
    phone.sign_in("acme", "ada").await;
    assert_eq!(phone.delete("/sessions").await.status, 204);
    laptop.get("/session").await.is_problem(401, "unauthorized");
    phone.get("/session").await.is_problem(401, "unauthorized");
}
