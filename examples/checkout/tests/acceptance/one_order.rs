//! One key is one order and one charge, however many copies of the request arrive at once.

use std::collections::BTreeSet;

use reqwest::Method;
use scalekit_testkit::at_once;
use serde_json::json;

use crate::kit::{Answer, Browser, Servers, Shop, evidence, key, size};

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_one_checkout_are_one_order() {
    let servers = Servers::start().await;
    let shop = Shop::start(&servers.program().args(["--pods", "3"])).await;
    let ledger = servers.ledger().await;
    let copies = size(60, 500);
    let ada = Browser::of(&shop.url, "acme", "ada").await;
    ada.fill("mug", 3).await;

    let key_of_all = key();
    let copies_of = |_| {
        let (browser, key) = (ada.at(&shop.url), key_of_all.clone());
        async move {
            let first = browser.checkout(&key, "tok_visa").await.unwrap();
            let answer = match first.is_decided() {
                true => first.clone(),
                false => browser.checkout_until_decided(&key, "tok_visa").await,
            };
            (first, answer)
        }
    };
    let (firsts, answers): (Vec<_>, Vec<_>) = at_once(copies, copies_of).await.into_iter().unzip();
    // A copy waits for the execution's answer. What may be refused instead is what found no processor in time: its
    // session was not there within Redis's budget, or the wait for the execution was over.
    let refused: Vec<_> = firsts.iter().filter(|first| !first.is_decided()).collect();
    for first in &refused {
        let kind = first.problem();
        let known = ["unavailable", "outcome-unknown", "in-flight"].contains(&kind.as_str());
        assert!(known && first.retry_after().is_some(), "{first:?}");
    }
    eprintln!("{} of {copies} were asked to come again", refused.len());
    // How many there are is the machine's matter, and evidence; but some must have got their answer by waiting.
    let waited = firsts
        .iter()
        .filter(|first| first.header("idempotent-replayed") == Some("true") && first.is_decided());
    assert!(waited.count() > 0, "nobody waited for the execution: {refused:?}");
    let kinds: BTreeSet<_> = answers.iter().map(|answer| (answer.status, &answer.body)).collect();
    assert_eq!(kinds.len(), 1, "{kinds:?}");
    assert_eq!(answers[0].status, 201);
    // Every answer but the execution's own says that it is a replay; those that came again as well.
    let executed =
        answers.iter().filter(|answer| answer.header("idempotent-replayed") != Some("true")).count();
    // None, if it was the execution whose answer did not come in time on a busy machine.
    assert!(executed <= 1, "{executed} answers are an execution's own");
    let order_id = answers[0].order_id();

    // Another request under the same key, and none.
    let other = ada.checkout_until_decided(&key_of_all, "tok_mastercard").await;
    assert_eq!(other.status, 422, "{other:?}");
    other.problem();
    let without = ada.send(ada.post("/checkout", &json!({"payment_token": "tok_visa"}))).await.unwrap();
    assert_eq!(without.status, 400, "{without:?}");
    without.problem();

    // Somebody else's key is another key, in the same tenant and in another one.
    for (tenant, user) in [("acme", "eve"), ("other", "ada")] {
        let eve = Browser::of(&shop.url, tenant, user).await;
        eve.fill("tea", 1).await;
        let own = eve.checkout_until_decided(&key_of_all, "tok_visa").await;
        assert_ne!(own.order_id(), order_id);
    }
    assert_eq!(ada.cart().await, []);

    let orders = ledger.wait_settled("ada").await;
    let of_ada: Vec<_> = orders.iter().filter(|order| order.order_id == order_id).collect();
    assert_eq!((orders.len(), of_ada.len()), (2, 1), "one in each tenant: {orders:?}");
    assert_eq!(of_ada[0].status, "paid");
    servers.provider.assert_charged_once(&order_id, 3 * 1650, "tok_visa");
    assert_eq!(ledger.wait_settled("eve").await.len(), 1);
    assert_eq!(servers.provider.orders().len(), 3);
    shop.assert_no_panic();
    let what = format!("{copies} concurrent copies of one checkout over 3 pods");
    let outcome = format!(
        "1 order, 1 charge, all answers equal; {} of the copies were first told 503 or 409 with Retry-After",
        refused.len()
    );
    evidence("one key, Redis and two Postgres shards", &what, &outcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_keys_for_one_cart_are_one_order() {
    let servers = Servers::start().await;
    let shop = Shop::start(&servers.program().args(["--pods", "3"])).await;
    let ledger = servers.ledger().await;
    for round in 0..size(3, 30) {
        let user = format!("user-{round}");
        let browser = Browser::of(&shop.url, "acme", &user).await;
        browser.fill("honey", 2).await;
        let answers = at_once(8, |_| {
            let browser = browser.at(&shop.url);
            async move { browser.checkout_until_decided(&key(), "tok_visa").await }
        })
        .await;
        let placed = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(placed, 1, "{answers:?}");
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!(refused.status, 409, "{refused:?}");
            assert_eq!(refused.problem(), "cart-empty", "nothing is left after the one order");
        }
        let orders = ledger.wait_settled(&user).await;
        assert_eq!(orders.len(), 1, "{orders:?}");
        servers.provider.assert_charged_once(&orders[0].order_id, 2 * 780, "tok_visa");
        assert_eq!(browser.cart().await, []);
    }
    shop.assert_no_panic();
}

#[tokio::test(flavor = "multi_thread")]
async fn additions_at_once_all_count() {
    let servers = Servers::start().await;
    let shop = Shop::start(&servers.program().args(["--pods", "3"])).await;
    let ada = Browser::of(&shop.url, "acme", "ada").await;
    let tabs = size(40, 300);
    let answers = at_once(tabs, |_| {
        let tab = ada.at(&shop.url);
        async move { tab.add("mug", 1).await.unwrap() }
    })
    .await;
    let done = answers.iter().filter(|answer| answer.status == 204).count();
    // On a busy machine one may stay undecided: it counts once or not at all.
    answers.iter().filter(|answer| answer.status != 204).for_each(Answer::assert_unavailable);
    assert!(done > 0, "{answers:?}");
    let cart = ada.cart().await;
    let there = usize::try_from(cart[0].1).unwrap();
    assert!((done..=tabs).contains(&there) && cart.len() == 1, "{cart:?} after {done} to {tabs} additions");
    let gone = ada.send(ada.request(Method::DELETE, "/session")).await.unwrap();
    assert_eq!(gone.status, 204);
    assert_eq!(ada.cookie(), None, "signing out removes the cookie");
}
