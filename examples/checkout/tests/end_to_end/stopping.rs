//! How the process ends, and comes back.

use std::time::Duration;

use scalekit_testkit::free_port;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    shards::Shards,
    shop::{Shop, program, program_at},
};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_an_open_request_end() {
    let shop = Shop::open(&["--pods=2"]).await;
    let address = shop.url.trim_start_matches("http://").to_owned();
    let body = r#"{"tenant":"acme","user":"ada"}"#;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /session HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{}", &body[..5]).as_bytes()).await.unwrap();
    // Once the shop answers another request it has taken up this one, too: both wait in the same accept queue.
    assert_eq!(shop.visitor().get("/healthz").await.status, 200);
    let since = Instant::now();
    shop.running.terminate();
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(&body.as_bytes()[5..]).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(shop.running.wait_exit().await.code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_delays_the_end_and_does_not_prevent_it() {
    let shop = Shop::open(&[]).await;
    let address = shop.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        "POST /session HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(shop.visitor().get("/healthz").await.status, 200);
    let since = Instant::now();
    shop.running.terminate();
    assert_eq!(shop.running.wait_exit().await.code(), Some(0));
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_survive_sigkill_and_the_port_is_free_at_once() {
    let shards = Shards::create().await;
    let port = free_port();
    let program = program_at(&shards, port.addr());
    let shop = Shop::start(program.clone()).await;
    let ada = shop.customer("acme", "ada").await;
    ada.add("tea", 1).await;
    let order_id = ada.checkout("k", "tok_visa").await.order_id();
    shop.running.kill9().await;
    let shop = Shop::start(program).await;
    let ada = shop.customer("acme", "ada").await;
    assert_eq!(ada.orders().await[0]["order_id"], order_id.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_may_start_at_once_on_empty_databases() {
    let shards = Shards::create().await;
    let starting: Vec<_> = (0..3).map(|_| tokio::spawn(Shop::start(program(&shards)))).collect();
    for shop in starting {
        let shop = shop.await.unwrap();
        assert_eq!(shop.visitor().get("/readyz").await.status, 200);
    }
}
