//! Clients that send their bodies byte by byte hold no connection of the database.

use std::time::Duration;

use scalekit_testkit::wait_until;
use sqlx::Row;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::kit::{Browser, SOON, Servers, Shop, evidence, key, size};

/// Transactions that are open, by age in seconds, of everybody but this connection.
const OPEN: &str = "select extract(epoch from clock_timestamp() - xact_start)::float8 as age, state, query
                      from pg_stat_activity
                     where xact_start is not null and pid <> pg_backend_pid() and backend_type = 'client backend'";

/// A checkout whose body has begun.
struct Trickle {
    stream: TcpStream,
    body: Vec<u8>,
    sent: usize,
}

impl Trickle {
    /// Returns when the shop reads the body: that is when it says `100 Continue`.
    async fn begin(shop: &Shop, browser: &Browser) -> Self {
        let address = shop.url.trim_start_matches("http://");
        let body = br#"{"payment_token": "tok_visa"}"#.to_vec();
        let (cookie, key, length) = (browser.cookie().unwrap(), key(), body.len());
        let head = format!(
            "POST /checkout HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncookie: {cookie}\r\n\
             idempotency-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
             expect: 100-continue\r\n\r\n"
        );
        let start = Instant::now();
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut said = [0; 25];
            stream.read_exact(&mut said).await.unwrap();
            if said == *b"HTTP/1.1 100 Continue\r\n\r\n" {
                return Self { stream, body, sent: 0 };
            }
            // On a busy machine the session may not be there in time.
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.starts_with("HTTP/1.1 503") && start.elapsed() < SOON, "{said}");
        }
    }

    async fn send(&mut self, count: usize) {
        self.stream.write_all(&self.body[self.sent..self.sent + count]).await.unwrap();
        self.sent += count;
    }

    /// The body byte by byte over the given time, and then the answer.
    async fn go_on(mut self, over: Duration) -> String {
        let bytes = self.body.len();
        for _ in 0..bytes {
            sleep(over / bytes as u32).await;
            self.send(1).await;
        }
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_trickle_hold_no_connection() {
    let servers = Servers::start().await;
    let shop = Shop::start(&servers.program()).await;
    let (clients, over) = (size(100, 1_000), Duration::from_secs(size(2, 30)));
    let ada = Browser::of(&shop.url, "acme", "ada").await;
    let eve = Browser::of(&shop.url, "acme", "eve").await;
    let mut watch = servers.shards[0].pool(1).await.acquire().await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..clients {
        tasks.push(Trickle::begin(&shop, &ada).await);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = tasks.into_iter().map(|one| tokio::spawn(one.go_on(over))).collect();

    // All have the shop's attention now, which others get nevertheless: more clients trickle than there are connections.
    eve.fill("tea", 1).await;
    let _order = eve.checkout_until_decided(&key(), "tok_visa").await.order_id();
    let mut looks = 0;
    while begun.elapsed() < over.mul_f64(0.8) {
        for row in sqlx::query(OPEN).fetch_all(&mut *watch).await.unwrap() {
            let (age, query): (f64, String) = (row.get("age"), row.get("query"));
            // Relay and consumer have short ones of their own; one that waits for a body is as old as the trickle.
            assert!(age < begun.elapsed().as_secs_f64().max(1.0), "open for {age} s: {query}");
        }
        looks += 1;
        sleep(Duration::from_millis(50)).await;
    }
    assert!(looks >= 10, "{looks} looks are too few");
    for task in tasks {
        let answer = task.await.unwrap();
        // They all end at once: not all of them get a connection within the time that the shop waits for one.
        let decided = answer.starts_with("HTTP/1.1 409") && answer.contains("cart-empty");
        assert!(decided || answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    let idle =
        || async { sqlx::query(OPEN).fetch_all(&servers.shards[0].pool(1).await).await.unwrap().is_empty() };
    wait_until("no transaction is left open", SOON, idle).await;
    shop.assert_no_panic();
    let what = format!("{clients} checkouts whose bodies come over {over:?}");
    evidence(
        "bodies that trickle",
        &what,
        &format!("no transaction open for them in {looks} looks; others are served"),
    );
}
