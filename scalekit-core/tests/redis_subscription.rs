//! A channel is heard again after every loss of its connection, and a loss is told.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use scalekit_core::redis::{Heard, Redis, Subscription, cmd};
use scalekit_testkit::Proxy;
use tokio::time::timeout;

async fn next(subscription: &mut Subscription) -> Heard {
    timeout(Duration::from_secs(20), subscription.next()).await.expect("nothing is heard")
}

#[tokio::test]
async fn messages_come_in_order_and_a_lost_connection_is_a_gap() {
    let server = scalekit_testkit::Redis::start().await;
    let proxy = Proxy::to(server.addr()).await;
    let direct = Redis::open(&server.url()).unwrap();
    let say = async |text: &str| direct.query::<u64>(cmd("PUBLISH").arg("news").arg(text)).await.unwrap();
    let mut heard = Redis::open(&format!("redis://{}", proxy.addr())).unwrap().subscription("news");
    assert_eq!(say("before").await, 0);
    for round in 0..3 {
        assert_eq!(next(&mut heard).await, Heard::Gap, "round {round}");
        for text in ["one", "two", "three"] {
            assert_eq!(say(text).await, 1);
        }
        for text in ["one", "two", "three"] {
            assert_eq!(next(&mut heard).await, Heard::Message(text.as_bytes().to_vec()));
        }
        proxy.cut().await;
        assert_eq!(say("missed").await, 0);
        proxy.heal().await;
    }
}
