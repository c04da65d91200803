//! Payment tokens, cookies and keys are in no log, no Redis key and no row.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::json;

use crate::kit::{Browser, Servers, Shop, key};

/// All the ways in which bytes may have been written down.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let texts = [
        hex.to_uppercase(),
        hex,
        BASE64_STANDARD.encode(secret),
        BASE64_STANDARD_NO_PAD.encode(secret),
        BASE64_URL_SAFE_NO_PAD.encode(secret),
        list,
    ];
    texts.into_iter().map(String::into_bytes).chain([secret.to_vec()]).collect()
}

fn assert_absent(place: &str, haystack: &[u8], name: &str, secret: &[u8]) {
    assert!(secret.len() >= 12, "{name} is too short to be looked for");
    for spelling in spellings(secret) {
        let found = haystack.windows(spelling.len()).any(|window| window == spelling);
        assert!(!found, "{name} is in {place}, as {:?}", String::from_utf8_lossy(&spelling));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_nowhere_to_be_read() {
    let servers = Servers::start().await;
    let shop = Shop::start(&servers.program().env("RUST_LOG", "trace")).await;
    let ledger = servers.ledger().await;
    let token = format!("tok_{}", uuid::Uuid::now_v7().simple());
    let ada = Browser::of(&shop.url, "acme", "ada").await;
    ada.fill("mug", 1).await;
    let place = key();
    let answers =
        [ada.checkout_until_decided(&place, &token).await, ada.checkout_until_decided(&place, &token).await];
    let order_id = answers[0].order_id();
    let _paid = ledger.wait_settled("ada").await;
    servers.provider.assert_charged_once(&order_id, 1650, &token);
    // Refusals name what was wrong, and must not repeat it.
    let quoted = ada.post("/checkout", &json!({"payment_token": [&token]})).header("idempotency-key", key());
    let mut refusals =
        vec![ada.send(quoted).await.unwrap(), ada.checkout(&place, &format!("{token}x")).await.unwrap()];
    refusals.push(ada.checkout(&key(), &token.repeat(50)).await.unwrap());
    assert!(refusals.iter().all(|answer| answer.status.is_client_error()), "{refusals:?}");

    let cookie = ada.cookie().unwrap();
    let value = cookie.split_once('=').unwrap().1;
    let mut secrets = vec![("the payment token".to_owned(), token.clone().into_bytes())];
    for (number, part) in value.split('.').chain([value]).enumerate().filter(|(_, part)| part.len() >= 12) {
        secrets.push((format!("part {number} of the cookie"), part.as_bytes().to_vec()));
        if let Ok(bytes) = BASE64_URL_SAFE_NO_PAD.decode(part) {
            secrets.push((format!("part {number} of the cookie, decoded"), bytes));
        }
    }
    secrets.extend(servers.ring.secrets().map(|bytes| ("a key of the ring".to_owned(), bytes.to_vec())));
    assert!(secrets.len() >= 4, "the cookie {cookie:?} has no part to look for");

    let places = [
        ("the log", shop.running.stderr().into_bytes()),
        ("standard output", shop.running.stdout().join("\n").into_bytes()),
        ("Redis", servers.redis.dump_everything().await),
        ("Postgres", ledger.dump().await.into_bytes()),
        ("an answer", format!("{answers:?}{refusals:?}").into_bytes()),
        ("the metrics", ada.get("/metrics").await.unwrap().body.into_bytes()),
        ("the operations page", ada.get("/ops/data").await.unwrap().body.into_bytes()),
    ];
    for (place, text) in &places {
        assert!(*place == "standard output" || text.len() > 100, "{place} is empty");
        for (name, secret) in &secrets {
            assert_absent(place, text, name, secret);
        }
    }
    let rows = String::from_utf8_lossy(&places[3].1);
    assert!(rows.contains(&order_id), "the dump shows what is stored");
}
