//! The key ring is rotated between the charge of an order and the mark of it.

use scalekit_testkit::wait_until;

use crate::kit::{Browser, SOON, Servers, Shop, key};

/// Orders; the money is taken and the process is killed before it learns of it.
async fn charged_and_not_marked(servers: &Servers, user: &str) -> (Browser, String) {
    servers.provider.take_money_silently();
    let shop = Shop::start(&servers.program()).await;
    let browser = Browser::of(&shop.url, "acme", user).await;
    browser.fill("mug", 1).await;
    let order_id = browser.checkout_until_decided(&key(), "tok_visa").await.order_id();
    servers.provider.wait_charged(&order_id).await;
    shop.running.kill9().await;
    servers.provider.answer_again();
    let orders = servers.ledger().await.orders_of(user).await;
    assert_eq!(orders.iter().map(|order| &*order.status).collect::<Vec<_>>(), ["placed"]);
    (browser, order_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_charged_once_over_a_rotation() {
    let mut servers = Servers::start().await;
    let (browser, order_id) = charged_and_not_marked(&servers, "ada").await;
    servers.ring.rotate();
    let shop = Shop::start(&servers.program()).await;
    let orders = servers.ledger().await.wait_settled("ada").await;
    assert_eq!((orders.len(), &*orders[0].status), (1, "paid"));
    servers.provider.assert_charged_once(&order_id, 1650, "tok_visa");
    let browser = browser.at(&shop.url);
    assert_eq!(browser.look("/session").await.status, 200, "the old key is still accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_for_the_key_that_its_token_is_sealed_under() {
    let mut servers = Servers::start().await;
    let (_, order_id) = charged_and_not_marked(&servers, "ada").await;
    let charged = servers.provider.charges_of(&order_id).len();
    servers.ring.rotate();
    servers.ring.drop_old_keys();
    let shop = Shop::start(&servers.program()).await;
    let anybody = Browser::new(&shop.url);
    let ledger = servers.ledger().await;
    let event = ledger.events(&order_id, "order.placed").await.pop_first().unwrap();
    let parked =
        || async { anybody.get("/ops/data").await.unwrap().json()["parked"].to_string().contains(&event) };
    wait_until("the operations page shows the parked order", SOON, parked).await;
    assert_eq!(ledger.orders_of("ada").await[0].status, "placed");
    // The other orders of the shop do not wait for it.
    let eve = Browser::of(&shop.url, "acme", "eve").await;
    eve.fill("tea", 1).await;
    let _order = eve.checkout_until_decided(&key(), "tok_visa").await.order_id();
    assert_eq!(ledger.wait_settled("eve").await[0].status, "paid");
    assert_eq!(servers.provider.charges_of(&order_id).len(), charged, "no charge without the token");
    assert!(!shop.running.stderr().contains("tok_visa"));
    shop.running.kill9().await;

    servers.ring.restore_old_keys();
    let _shop = Shop::start(&servers.program()).await;
    assert_eq!(ledger.wait_settled("ada").await[0].status, "paid");
    servers.provider.assert_charged_once(&order_id, 1650, "tok_visa");
}
