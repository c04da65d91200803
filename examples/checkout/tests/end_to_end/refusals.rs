//! What is refused, and in which form.

use reqwest::Method;
use serde_json::{Value, json};

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn public_routes_need_no_session_and_set_none() {
    let shop = Shop::open(&[]).await;
    let visitor = shop.visitor();
    for path in
        ["/", "/catalog", "/recommendations", "/ops", "/metrics", "/healthz", "/readyz", "/scaling/outbox"]
    {
        let answer = visitor.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("set-cookie"), None, "{path}");
    }
    for product in visitor.get("/catalog").await.json()["products"].as_array().unwrap() {
        let element = format!("data-sku=\"{}\"", product["sku"].as_str().unwrap());
        assert!(visitor.get("/").await.text.contains(&element), "{element}");
    }
    let scaling = visitor.get("/scaling/outbox").await.json();
    for field in ["lag_seconds", "lag_events", "drain_eta_seconds", "desired_replicas"] {
        assert!(scaling.get(field).is_some(), "{scaling}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sign_in_every_other_route_is_401() {
    let shop = Shop::open(&[]).await;
    let visitor = shop.visitor();
    for (method, path) in [
        (Method::GET, "/session"),
        (Method::DELETE, "/session"),
        (Method::GET, "/sessions"),
        (Method::DELETE, "/sessions"),
        (Method::GET, "/cart"),
        (Method::POST, "/cart/items"),
        (Method::POST, "/checkout"),
        (Method::GET, "/orders"),
        (Method::GET, "/orders/01234567-89ab-7def-8123-456789abcdef"),
    ] {
        visitor.send(visitor.request(method, path)).await.is_problem(401, "unauthorized");
    }
    visitor.get("/nowhere").await.is_problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_out_of_bounds_are_422() {
    let shop = Shop::open(&[]).await;
    let visitor = shop.visitor();
    let long = "x".repeat(129);
    for (tenant, user) in [("", "ada"), ("acme", ""), (&long, "ada"), ("acme", &long)] {
        let answer = visitor.post("/session", &json!({"tenant": tenant, "user": user})).await;
        answer.is_problem(422, "invalid");
    }
    let widest = shop.customer(&"x".repeat(128), &"é".repeat(64)).await;
    let bodies: [Value; 7] = [
        json!({"sku": "tea", "quantity": 0}),
        json!({"sku": "tea", "quantity": 1000}),
        json!({"sku": "tea", "quantity": -1}),
        json!({"sku": "tea", "quantity": 1.5}),
        json!({"sku": "tea", "quantity": "1"}),
        json!({"sku": "unobtainium", "quantity": 1}),
        json!({"quantity": 1}),
    ];
    for body in bodies {
        widest.post("/cart/items", &body).await.is_problem(422, "invalid");
    }
    widest.add("tea", 999).await;
    widest.checkout("k", "").await.is_problem(422, "invalid");
    widest.checkout("k", &"t".repeat(256)).await.is_problem(422, "invalid");
    // Nothing of it was stored under the key.
    widest.checkout("k", "tok_visa").await.order_id();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_axum_refuses_is_a_problem_too() {
    let shop = Shop::open(&[]).await;
    let ada = shop.customer("acme", "ada").await;
    ada.send(ada.request(Method::PUT, "/cart")).await.is_problem(405, "method-not-allowed");
    let post = || ada.request(Method::POST, "/cart/items");
    ada.send(post().body("{}")).await.is_problem(415, "unsupported-media-type");
    let json = || post().header("content-type", "application/json");
    ada.send(json().body("{")).await.is_problem(400, "malformed");
    ada.send(json().body(" ".repeat(17 * 1024))).await.is_problem(413, "too-large");
    let keyed = |key: &'static str| {
        let request = ada.request(Method::POST, "/checkout").header("content-type", "application/json");
        request.header("idempotency-key", key)
    };
    ada.send(keyed("\"k\"").body(" ".repeat(17 * 1024))).await.is_problem(413, "too-large");
    ada.send(keyed("\"k\"").body("{")).await.is_problem(400, "malformed");
    ada.get("/orders/not-an-id").await.is_problem(404, "not-found");
    ada.get("/orders/%ff").await.is_problem(400, "bad-request");
    let answer = ada.send(ada.request(Method::POST, "/checkout").json(&json!({"payment_token": "t"}))).await;
    answer.is_problem(400, "idempotency-key-missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cart_is_not_stored_under_the_key() {
    let shop = Shop::open(&[]).await;
    let ada = shop.customer("acme", "ada").await;
    ada.checkout("k", "tok_visa").await.is_problem(409, "cart-empty");
    ada.add("tea", 1).await;
    let answer = ada.checkout("k", "tok_visa").await;
    answer.order_id();
    assert_eq!(answer.header("idempotent-replayed"), None);
}
