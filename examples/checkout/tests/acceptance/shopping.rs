//! The main job, as it runs when nothing is asked for: SQLite, memory, one process.

use scalekit_testkit::wait_until;

use crate::kit::{Browser, SOON, Shop, embedded, key};

async fn wait_status(browser: &Browser, order_id: &str, status: &str) {
    let path = format!("/orders/{order_id}");
    let settled = || async { browser.get(&path).await.unwrap().json()["status"] == status };
    wait_until("the order has its status", SOON, settled).await;
}

#[tokio::test]
async fn a_cart_becomes_an_order_that_is_paid() {
    let shop = Shop::start(&embedded().args(["--listen", "127.0.0.1:0"])).await;
    let page = Browser::new(&shop.url).get("/").await.unwrap();
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"), "{page:?}");
    assert!(page.header("set-cookie").is_none(), "the page needs no session");
    assert!(page.body.matches("data-sku=").count() >= 2, "{}", page.body);

    let ada = Browser::of(&shop.url, "acme", "ada").await;
    assert_eq!(
        ada.get("/session").await.unwrap().json(),
        serde_json::json!({"tenant": "acme", "user": "ada"})
    );
    assert_eq!(ada.add("mug", 2).await.unwrap().status, 204);
    assert_eq!(ada.add("tea", 1).await.unwrap().status, 204);
    assert_eq!(ada.add("mug", 1).await.unwrap().status, 204);
    let cart = vec![("mug".to_owned(), 3), ("tea".to_owned(), 1)];
    assert_eq!(ada.cart().await, cart);

    let answer = ada.checkout(&key(), "tok_visa").await.unwrap();
    let order_id = answer.order_id();
    let order = answer.json();
    assert_eq!((&order["tenant"], &order["status"]), (&"acme".into(), &"placed".into()));
    assert_eq!((answer.lines(), order["total_cents"].as_i64()), (cart, Some(3 * 1650 + 860)));
    assert_eq!(ada.cart().await, []);
    wait_status(&ada, &order_id, "paid").await;

    assert_eq!(ada.add("lamp", 1).await.unwrap().status, 204);
    let declined = ada.checkout(&key(), "tok_declined").await.unwrap().order_id();
    wait_status(&ada, &declined, "declined").await;
    let listed = ada.get("/orders").await.unwrap().json();
    let ids: Vec<_> = listed["orders"].as_array().unwrap().iter().map(|order| &order["order_id"]).collect();
    assert_eq!(ids, [&declined, &order_id], "newest first");

    let eve = Browser::of(&shop.url, "acme", "eve").await;
    assert_eq!(eve.get(&format!("/orders/{order_id}")).await.unwrap().status, 404);
    let elsewhere = Browser::of(&shop.url, "other", "ada").await;
    assert_eq!(elsewhere.get(&format!("/orders/{order_id}")).await.unwrap().status, 404);
    shop.assert_no_panic();
}

#[tokio::test]
async fn a_session_ends_where_it_is_told_to() {
    let shop = Shop::start(&embedded().args(["--listen", "127.0.0.1:0"])).await;
    let ada = Browser::of(&shop.url, "acme", "ada").await;
    let first = ada.cookie().unwrap();
    assert_eq!(ada.add("mug", 1).await.unwrap().status, 204);

    // Somebody else at the same device: another id, and none of the cart.
    let before = ada.at(&shop.url);
    assert_eq!(ada.sign_in("acme", "eve").await.unwrap().status, 204);
    assert_ne!(ada.cookie().unwrap(), first);
    assert_eq!(ada.cart().await, []);
    assert_eq!(before.get("/session").await.unwrap().status, 401, "the id before sign-in is spent");

    let (desk, phone) =
        (Browser::of(&shop.url, "acme", "bob").await, Browser::of(&shop.url, "acme", "bob").await);
    let sessions = desk.get("/sessions").await.unwrap().json();
    let sessions = sessions["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    assert_eq!(sessions.iter().filter(|one| one["current"] == true).count(), 1, "{sessions:?}");
    let secret = phone.cookie().unwrap();
    assert!(
        sessions.iter().all(|one| !secret.contains(one["id"].as_str().unwrap())),
        "an id tells the cookie"
    );
    let all = desk.request(reqwest::Method::DELETE, "/sessions");
    assert_eq!(desk.send(all).await.unwrap().status, 204);
    for device in [&desk, &phone] {
        assert_eq!(device.get("/session").await.unwrap().status, 401);
    }
    assert_eq!(ada.get("/session").await.unwrap().status, 200, "another user's session stays");
}
