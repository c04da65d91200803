//! How a process ends, and how the next one takes its place.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use scalekit_testkit::{free_port, wait_until};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Semaphore, task::JoinSet, time::Instant};

use crate::kit::{Answer, Browser, Ring, SOON, Servers, Shop, embedded, key, size};

/// Longer than this no orderly end may take.
const DRAINED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_drains_under_load() {
    let shop = Shop::start(&embedded().args(["--listen", "127.0.0.1:0", "--pods", "2"])).await;
    let (mut clients, orders) = (JoinSet::new(), Arc::new(Semaphore::new(0)));
    let count = size(8, 50);
    for number in 0..count {
        let browser = Arc::new(Browser::of(&shop.url, "acme", &format!("u{number}")).await);
        let orders = Arc::clone(&orders);
        clients.spawn(async move {
            let mut answers = Vec::new();
            // Until the listener is gone: a request that was accepted has to be answered.
            while let Ok(answer) = browser.add("mug", 1).await {
                answers.push(answer);
                match browser.checkout(&key(), "tok_visa").await {
                    Ok(answer) => {
                        answers.push(answer);
                        orders.add_permits(1);
                    }
                    Err(_) => break,
                }
            }
            answers
        });
    }
    // In the midst of it: each client has had some answers, by and large.
    drop(orders.acquire_many(2 * count).await.unwrap());
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

/// Backends that wait for a lock, whoever holds it.
const WAITING: &str = "select count(*) from pg_locks where not granted";

async fn waiting(pool: &sqlx::PgPool) -> i64 {
    sqlx::query_scalar(WAITING).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trickles_takes_nobody_elses_drain() {
    let servers = Servers::start().await;
    let shop = Shop::start(&servers.program()).await;
    let (ledger, ada) = (servers.ledger().await, Arc::new(Browser::of(&shop.url, "acme", "ada").await));
    ada.fill("mug", 1).await;
    let order_id = ada.checkout_until_decided(&key(), "tok_visa").await.order_id();
    // The orders of both shards are locked, and a list of them waits.
    let mut locks = Vec::new();
    for shard in &servers.shards {
        let mut lock = shard.pool(1).await.begin().await.unwrap();
        sqlx::query("lock table orders in access exclusive mode").execute(&mut *lock).await.unwrap();
        locks.push(lock);
    }
    let list = tokio::spawn({
        let ada = Arc::clone(&ada);
        async move { ada.get("/orders").await }
    });
    let looks = servers.shards[0].pool(1).await;
    wait_until("the list waits", SOON, || async { waiting(&looks).await > 0 }).await;
    let address = shop.url.trim_start_matches("http://");
    let mut trickle = TcpStream::connect(address).await.unwrap();
    let head = "POST /session HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
    trickle.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(ada.get("/healthz").await.unwrap().status, 200, "the trickle was accepted before");

    shop.running.terminate();
    let asked = Instant::now();
    while TcpStream::connect(address).await.is_ok() {}
    // What the list needs to be answered.
    tokio::time::sleep_until(asked + Duration::from_secs(2)).await;
    for lock in locks {
        lock.rollback().await.unwrap();
    }
    let listed = list.await.unwrap().unwrap();
    assert_eq!(listed.json()["orders"][0]["order_id"], order_id.as_str(), "{listed:?}");
    assert_eq!(shop.running.wait_exit().await.code(), Some(0));
    assert!(asked.elapsed() < DRAINED, "it took {:?}", asked.elapsed());
    let log = shop.running.stderr();
    assert!(log.contains("drained") && !log.contains("did not drain in time"), "{log}");
    assert_eq!(ledger.events(&order_id, "order.placed").await.len(), 1, "the outbox was shipped");
    drop(trickle);
}

/// The lock that migrations take.
const MIGRATIONS: &str = "select pg_advisory_xact_lock(7093841652401577083)";

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_told_to_end_while_it_starts_ends_at_once() {
    let servers = Servers::start().await;
    let pool = servers.shards[0].pool(2).await;
    let mut held = pool.begin().await.unwrap();
    sqlx::query(MIGRATIONS).execute(&mut *held).await.unwrap();
    for signal in ["TERM", "INT"] {
        // Postgres learns that a client has gone once the lock is there: those of the round before wait still.
        let before = waiting(&pool).await;
        let running = servers.program().start();
        wait_until("the migrations wait", SOON, || async { waiting(&pool).await > before }).await;
        running.signal(signal);
        let asked = Instant::now();
        assert_eq!(running.wait_exit().await.code(), Some(0), "{}", running.stderr());
        assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
        assert!(running.stdout().is_empty(), "{:?}", running.stdout());
    }
    held.rollback().await.unwrap();
    // Nothing is left half done.
    let shop = Shop::start(&servers.program()).await;
    let _ada = Browser::of(&shop.url, "acme", "ada").await;
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
async fn what_a_killed_run_left_behind_is_removed_by_the_next_and_no_running_one_loses_its_files() {
    let dir = std::env::temp_dir().join(format!("runs-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&dir).unwrap();
    let names = || -> BTreeSet<String> {
        let entries = std::fs::read_dir(&dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let program = embedded().args(["--listen", "127.0.0.1:0"]).env("TMPDIR", dir.display().to_string());
    let killed = Shop::start(&program).await;
    let of_killed = names();
    assert_eq!(of_killed.len(), 1, "{of_killed:?}");
    let living = Shop::start(&program).await;
    assert!(names().len() == 2 && names().is_superset(&of_killed), "{:?}", names());
    killed.running.kill9().await;
    assert!(names().is_superset(&of_killed), "nobody could remove it");

    let next = Shop::start(&program).await;
    assert!(names().len() == 2 && names().is_disjoint(&of_killed), "{:?}", names());
    for shop in [living, next] {
        let ada = Browser::of(&shop.url, "acme", "ada").await;
        ada.fill("tea", 1).await;
        ada.checkout_until_decided(&key(), "tok_visa").await.order_id();
        shop.running.terminate();
        assert_eq!(shop.running.wait_exit().await.code(), Some(0));
    }
    assert_eq!(names(), BTreeSet::new());
    std::fs::remove_dir(dir).unwrap();
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
