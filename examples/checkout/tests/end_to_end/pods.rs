//! Pods that are stopped, killed and started while customers shop.

use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{provider::Provider, shop::Shop};

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_acknowledged_and_nobody_is_signed_out() {
    let mut shop = Shop::open(&["--pods=3"]).await;
    let ada = shop.customer("acme", "ada").await;
    ada.add("tea", 1).await;
    for (command, answer) in [
        ("stop 1", "stopped 1"),
        ("kill 2", "killed 2"),
        ("stop 2", "error: pod 2 does not run"),
        ("start 1", "started 1"),
        ("kill 3", "killed 3"),
        ("start 4", "error: there is no pod 4"),
        ("dance", "error: \"dance\" is none of stop I, kill I, start I"),
        ("start 2", "started 2"),
    ] {
        shop.command(command, answer).await;
        assert_eq!(ada.cart().await, json!([{"sku": "tea", "quantity": 1}]), "after {command}");
    }
    let metrics = ada.get("/metrics").await.text;
    for pod in 1..=3 {
        let series = format!("http_server_request_duration_seconds_count{{pod=\"{pod}\"");
        assert!(metrics.contains(&series), "{series} is missing");
    }
    shop.running.close_stdin();
    assert_eq!(ada.get("/readyz").await.status, 200);
    ada.checkout("k", "tok_visa").await.order_id();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_pod_the_answer_is_503() {
    let mut shop = Shop::open(&[]).await;
    shop.command("kill 1", "killed 1").await;
    let answer = shop.visitor().get_once("/readyz").await;
    answer.is_problem(503, "not-serving");
    assert!(answer.header("retry-after").is_some());
    shop.command("start 1", "started 1").await;
    assert_eq!(shop.visitor().get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_neither_lose_nor_double_an_order() {
    const ORDERS: usize = 15;
    let provider = Provider::open().await;
    let mut shop = Shop::open(&["--pods=3", "--payments", &provider.url]).await;
    let ada = shop.customer("acme", "ada").await;
    let asking = Notify::new();
    let done = CancellationToken::new();
    let shopping = async {
        let mut placed = Vec::new();
        for at in 0..ORDERS {
            ada.add("tea", 1).await;
            let key = format!("k{at}");
            // A client repeats under its key whatever told it nothing.
            let answer = loop {
                asking.notify_one();
                let answer = ada.send(ada.checkout_request(&key, "tok_visa")).await;
                if answer.status == 201 {
                    break answer;
                }
                let may_repeat = answer.status == 502 || answer.header("retry-after").is_some();
                assert!(may_repeat, "{answer:?}");
            };
            placed.push(answer.order_id());
        }
        done.cancel();
        placed
    };
    let killing = async {
        for pod in [1, 2, 3].into_iter().cycle() {
            tokio::select! {
                () = asking.notified() => {}
                () = done.cancelled() => break,
            }
            shop.command(&format!("kill {pod}"), &format!("killed {pod}")).await;
            shop.command(&format!("start {pod}"), &format!("started {pod}")).await;
        }
    };
    let (mut placed, ()) = tokio::join!(shopping, killing);
    for order_id in &placed {
        assert_eq!(ada.settled(order_id).await, "paid");
    }
    let mut stored: Vec<_> =
        ada.orders().await.iter().map(|order| order["order_id"].as_str().unwrap().to_owned()).collect();
    let mut charged = provider.charged();
    for list in [&mut placed, &mut stored, &mut charged] {
        list.sort();
    }
    assert_eq!(placed, stored);
    assert_eq!(placed, charged);
    assert_eq!(ada.cart().await, json!([]));
}
