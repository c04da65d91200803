//! How a process ends, and how the next one takes its place.

use std::{sync::Arc, time::Duration};

use scalekit_testkit::free_port;
use tokio::{task::JoinSet, time::Instant};

use crate::kit::{Answer, Browser, Ring, Shop, embedded, key, size};

/// Longer than this no orderly end may take.
const DRAINED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_under_load() {
    let shop = Shop::start(&embedded().args(["--listen", "127.0.0.1:0", "--pods", "2"])).await;
    let mut clients = JoinSet::new();
    for number in 0..size(8, 50) {
        let browser = Arc::new(Browser::of(&shop.url, "acme", &format!("u{number}")).await);
        clients.spawn(async move {
            let mut answers = Vec::new();
            // Until the listener is gone: a request that was accepted has to be answered.
            while let Ok(answer) = browser.add("mug", 1).await {
                answers.push(answer);
                match browser.checkout(&key(), "tok_visa").await {
                    Ok(answer) => answers.push(answer),
                    Err(_) => break,
                }
            }
            answers
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    shop.running.terminate();
    let asked = Instant::now();
    let status = shop.running.wait_exit().await;
    assert_eq!(status.code(), Some(0), "{}", shop.running.stderr());
    assert!(asked.elapsed() < DRAINED, "it took {:?}", asked.elapsed());
    let answers: Vec<Answer> = clients.join_all().await.into_iter().flatten().collect();
    assert!(answers.len() > 20, "{} answers are no load", answers.len());
    for answer in &answers {
        assert!([201, 204, 409, 503].contains(&answer.status.as_u16()), "{answer:?}");
    }
    shop.assert_no_panic();
}

#[tokio::test]
async fn a_port_is_free_again_directly_after_sigkill() {
    let (port, ring) = (free_port(), Ring::new());
    let dir = std::env::temp_dir().join(format!("shop-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&dir).unwrap();
    let file = |name: &str| format!("{name}=sqlite://{}/{name}.db", dir.display());
    let program = embedded()
        .args(["--listen".to_owned(), port.addr().to_string()])
        .args(["--key-ring".to_owned(), ring.path().display().to_string()])
        .args(["--shard".to_owned(), file("a"), "--shard".to_owned(), file("b")]);
    let mut orders = Vec::new();
    for round in 1..=size(3, 20) {
        let shop = Shop::start(&program).await;
        let ada = Browser::of(&shop.url, "acme", "ada").await;
        assert_eq!(ada.add("mug", round).await.unwrap().status, 204);
        orders.insert(0, ada.checkout(&key(), "tok_visa").await.unwrap().order_id());
        let listed = ada.get("/orders").await.unwrap().json();
        let ids: Vec<_> = listed["orders"].as_array().unwrap().iter().map(|one| &one["order_id"]).collect();
        assert_eq!(ids, orders.iter().collect::<Vec<_>>(), "acknowledged orders outlive the process");
        // Some connections are open: their sockets linger on the port.
        shop.running.kill9().await;
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn a_value_that_cannot_work_is_one_line_and_exit_code_2() {
    let wrong: [&[&str]; 8] = [
        &["--listen", "nowhere"],
        &["--pods", "0"],
        &["--shard", "a"],
        &["--redis", "http://127.0.0.1"],
        &["--events", "carrier-pigeon"],
        &["--key-ring", "/nonexistent/ring"],
        &["--public-url", "http://shop.example"],
        &["--frobnicate"],
    ];
    for args in wrong {
        let running = embedded().args(args.iter().copied()).start();
        let status = running.wait_exit().await;
        let (out, err) = (running.stdout(), running.stderr());
        assert_eq!(status.code(), Some(2), "{args:?}: {err}");
        assert_eq!((out.len(), err.trim().lines().count()), (0, 1), "{args:?}: {err}");
        assert!(err.contains(args[0]), "{args:?}: {err}");
    }
}
