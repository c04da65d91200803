//! Postgres that is away, and Postgres that could not bear us.

use scalekit_testkit::Postgres;

use crate::{
    shards::Shards,
    shop::{Shop, program},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_does_not_hold_is_refused_with_its_arithmetic() {
    let shards = Shards::create().await;
    let running = program(&shards).arg("--processes=8").start();
    assert_eq!(running.wait_exit().await.code(), Some(2));
    let text = running.stderr();
    assert!(text.contains("8 processes x (10 + 4 + 10 + 4) + 3 reserve = 227 > 200"), "{text}");
    assert!(running.stdout().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_down_fails_its_own_tenants_and_comes_back() {
    let (up, down) = (Postgres::start().await, Postgres::start().await);
    let (a, b) = (up.database().await, down.database().await);
    down.kill().await;
    let program = scalekit_testkit::Program::new(env!("CARGO_BIN_EXE_checkout")).own_tmpdir().args([
        "--listen=127.0.0.1:0".to_owned(),
        format!("--shard=a={}", a.url()),
        format!("--shard=b={}", b.url()),
    ]);
    // It starts all the same, and serves what needs no store.
    let shop = Shop::start(program).await;
    let ready = shop.visitor().get_once("/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(shop.visitor().get("/catalog").await.status, 200);

    // Sixteen tenants are on both shards, or the hash is broken.
    let mut refused = Vec::new();
    for tenant in 0..16 {
        let ada = shop.customer(&format!("tenant-{tenant}"), "ada").await;
        ada.add("tea", 1).await;
        let answer = ada.send(ada.checkout_request("k", "tok_visa")).await;
        if answer.status != 201 {
            answer.is_problem(503, "unavailable");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            refused.push(ada);
        }
    }
    assert!((1..16).contains(&refused.len()), "{} of 16 are refused", refused.len());

    down.restart().await;
    for ada in refused {
        let order_id = ada.checkout("k", "tok_visa").await.order_id();
        assert_eq!(ada.settled(&order_id).await, "paid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_database_under_two_names_is_refused_by_both_shards() {
    let postgres = Postgres::start().await;
    let database = postgres.database().await;
    let by_name = database.url().replace("127.0.0.1", "localhost");
    let program = scalekit_testkit::Program::new(env!("CARGO_BIN_EXE_checkout")).own_tmpdir().args([
        "--listen=127.0.0.1:0".to_owned(),
        format!("--shard=first={}", database.url()),
        format!("--shard=second={by_name}"),
    ]);
    let running = program.start();
    assert_eq!(running.wait_exit().await.code(), Some(2));
    let text = running.stderr();
    let line = "error: the shards \"first\" and \"second\" are one database under two names";
    assert!(text.contains(line), "{text}");
    assert!(running.stdout().is_empty());
}
