//! Cookies that nobody was given, and visitors without one, cost Redis nothing.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::{Method, header::COOKIE};
use scalekit_testkit::{Redis, RedisServer, Rng};

use crate::kit::{Browser, Shop, embedded, evidence, rng, size};

const CLIENTS: usize = 8;

async fn shop_on_redis() -> (RedisServer, Shop) {
    let redis = Redis::start().await;
    let args = ["--listen", "127.0.0.1:0", "--redis", &redis.url()];
    let shop = Shop::start(&embedded().args(args)).await;
    (redis, shop)
}

/// What Redis was asked for; a connection's own `ping` belongs to no request.
async fn commands(redis: &RedisServer) -> BTreeMap<String, u64> {
    let mut stats = redis.commandstats().await;
    stats.remove("ping");
    stats
}

/// A cookie that is like a genuine one, and is none.
fn forge(genuine: &str, rng: &mut Rng) -> Vec<u8> {
    let mut forged = genuine.as_bytes().to_vec();
    let name = genuine.find('=').unwrap() + 1;
    let at = name + rng.below((forged.len() - name) as u64) as usize;
    match rng.below(5) {
        0 => forged.truncate(at),
        1 => forged.insert(at, b'A'),
        2 => forged.push(*rng.pick(b"A=.%")),
        3 => {
            // As long as the genuine one, of the same letters.
            let letters = &genuine.as_bytes()[name..];
            forged[name..].fill_with(|| *rng.pick(letters));
        }
        _ => forged[at] = if forged[at] == b'A' { b'B' } else { b'A' },
    }
    forged
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_cookies_cost_no_command() {
    let mut rng = rng();
    let (redis, shop) = shop_on_redis().await;
    let ada = Arc::new(Browser::of(&shop.url, "acme", "ada").await);
    assert_eq!(ada.get("/session").await.unwrap().status, 200);
    let before = commands(&redis).await;
    let each = size(250, 12_500);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (mut rng, genuine) = (Rng::new(rng.next_u64()), ada.cookie().unwrap());
        let stranger = Browser::new(&shop.url);
        clients.push(tokio::spawn(async move {
            for _ in 0..each {
                let forged = forge(&genuine, &mut rng);
                let request = stranger.request(Method::GET, "/cart").header(COOKIE, forged.as_slice());
                let answer = stranger.send(request).await.unwrap();
                assert_eq!(
                    answer.status,
                    401,
                    "{:?} is taken for {genuine:?}",
                    String::from_utf8_lossy(&forged)
                );
                answer.problem();
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(commands(&redis).await, before, "forged cookies reached Redis");
    assert_eq!(ada.get("/session").await.unwrap().status, 200, "the genuine one is still good");
    assert_ne!(commands(&redis).await, before, "the counts do count");
    shop.assert_no_panic();
    evidence("forged cookies", &format!("{} requests", each * CLIENTS), "0 Redis commands, each 401");
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_without_a_cookie_leave_no_session() {
    let (redis, shop) = shop_on_redis().await;
    let each = size(64, 1_250);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let visitor = Browser::new(&shop.url);
        clients.push(tokio::spawn(async move {
            for _ in 0..each {
                let page = visitor.get("/").await.unwrap();
                assert_eq!((page.status.as_u16(), page.header("set-cookie")), (200, None));
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(redis.keys().await, Vec::<String>::new());
    let _ada = Browser::of(&shop.url, "acme", "ada").await;
    let keys = redis.keys().await;
    assert!(keys.iter().any(|key| key.contains(":s:")), "a session does leave a key: {keys:?}");
    evidence("visitors without a cookie", &format!("{} requests", each * CLIENTS), "0 keys in Redis");
}
