//! The round trips and the CPU of a session in Redis.

use scalekit_bench::{duel::block_on, session};
use scalekit_testkit::{Proxy, Redis};

fn main() {
    block_on(async {
        let redis = Redis::start().await;
        let proxy = Proxy::to(redis.addr()).await;
        session::count_round_trips(&proxy, &[session::scalekit(proxy.addr())]).await;
        session::measure(&redis, &[session::scalekit(redis.addr())]).await;
    });
}
