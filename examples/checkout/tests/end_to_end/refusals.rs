//! What is refused, and in which form.

use std::time::Duration;

use reqwest::Method;
use scalekit_testkit::Redis;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::{browser::PATIENCE, shop::Shop};

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

/// How the server ends a connection that sent these bytes and then no more; and after how long.
async fn stalls(address: String, begun: String) -> (String, Duration) {
    let (mut stream, since) = (TcpStream::connect(address).await.unwrap(), Instant::now());
    stream.write_all(begun.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer, since.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_are_let_go_and_others_are_served_meanwhile() {
    let shop = Shop::open(&[]).await;
    let address = shop.url.trim_start_matches("http://").to_owned();
    let body = "content-type: application/json\r\ncontent-length: 99\r\n\r\n{\"tenant\":";
    let heads =
        ["", "GET /catalog HTT", "GET /catalog HTTP/1.1\r\nhost: shop\r\nx-slow: "].map(str::to_owned);
    let bodies = [format!("POST /session HTTP/1.1\r\nhost: shop\r\n{body}")];
    let all = heads.iter().chain(&bodies);
    let stalled: Vec<_> = all.map(|begun| tokio::spawn(stalls(address.clone(), begun.clone()))).collect();
    // Many of one kind do not matter either.
    let crowd: Vec<_> = (0..200).map(|_| tokio::spawn(stalls(address.clone(), bodies[0].clone()))).collect();
    let ada = shop.customer("acme", "ada").await;
    ada.add("tea", 1).await;
    ada.checkout("k", "tok_visa").await.order_id();
    assert!(!stalled.iter().any(tokio::task::JoinHandle::is_finished), "they were served beside each other");
    for (at, task) in stalled.into_iter().chain(crowd).enumerate() {
        let (answer, took) = task.await.unwrap();
        assert!(took < PATIENCE, "{took:?}");
        if at >= heads.len() {
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
            assert!(
                answer.contains("application/problem+json") && answer.contains("body-timeout"),
                "{answer}"
            );
        } else {
            assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_no_store_could_bear_are_refused_by_field_and_stored_nowhere() {
    let redis = Redis::start().await;
    let shop = Shop::open(&[&format!("--redis={}", redis.url())]).await;
    let visitor = shop.visitor();
    let mut names: Vec<String> =
        ["", "\0", "ac\0me", "acme\n", "\u{1b}[2J", "\u{7f}", "\u{85}"].map(str::to_owned).to_vec();
    // Counted in bytes, whatever the letters: 129 of one, 65 of two, and one more than there is room for.
    names.extend(["a".repeat(129), "é".repeat(65), "a".repeat(10_000)]);
    for name in &names {
        for (field, other) in [("tenant", "user"), ("user", "tenant")] {
            let answer = visitor.post("/session", &json!({field: name, other: "fine"})).await;
            answer.is_problem(422, "invalid");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.starts_with(field), "{name:?} gave {detail:?}");
            assert_eq!(answer.header("set-cookie"), None, "{answer:?}");
        }
    }
    // No text at all: half a surrogate pair, a byte that no UTF-8 has.
    for name in [&b"\\ud800"[..], b"\xff"] {
        let body = [b"{\"tenant\":\"", name, b"\",\"user\":\"fine\"}"].concat();
        let request = visitor.request(Method::POST, "/session").header("content-type", "application/json");
        let answer = visitor.send(request.body(body)).await;
        answer.is_problem(400, "malformed");
        assert_eq!(answer.header("set-cookie"), None, "{answer:?}");
    }
    assert_eq!(redis.keys().await, Vec::<String>::new());

    // The longest name is none of them, and what looks like an escape is only text.
    for name in ["é".repeat(64), "%00%ff".to_owned()] {
        let who = shop.customer(&name, &name).await;
        assert_eq!(who.get("/session").await.json(), json!({"tenant": name, "user": name}));
    }
    let ada = shop.customer("acme", "ada").await;
    for path in ["/orders/%ff", "/orders/%00"] {
        let answer = ada.get(path).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    }
}
