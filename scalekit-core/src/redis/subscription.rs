//! Messages of a channel, on a connection of its own that is made again whenever it is lost.

use std::{fmt, ops::RangeInclusive, time::Duration};

use ::redis::{Client, RedisError, Value, aio::PubSub};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::Redis;

/// A connection on which nothing comes for so long may lead nowhere: the server is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(2);
/// How long it may take to answer that.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Between two attempts to connect: a server that starts anew is found soon, one that refuses is not pestered.
const PAUSES: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3);

/// What a [`Subscription`] has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message.
    Message(Vec<u8>),
    /// From here on messages are heard; any number of them may have been missed before.
    Gap,
}

/// A channel's messages; see [`Redis::subscription`].
///
/// Guarantee: between two [gaps](Heard::Gap) nothing is missed. Non-guarantee: Redis keeps no message for one who is not
/// there; what matters must be found again in another way after a gap.
///
/// ```no_run
/// use scalekit_core::redis::{Heard, Redis};
///
/// # async fn example(redis: Redis) {
/// let mut prices = redis.subscription("prices");
/// loop {
///     match prices.next().await {
///         Heard::Message(article) => println!("changed: {article:?}"),
///         Heard::Gap => println!("read all of them again"),
///     }
/// }
/// # }
/// ```
pub struct Subscription {
    redis: Redis,
    channel: String,
    live: Option<PubSub>,
    pause: Duration,
}

impl Subscription {
    pub(super) fn new(redis: Redis, channel: String) -> Self {
        Self { redis, channel, live: None, pause: *PAUSES.start() }
    }

    /// The next message, or that there may have been some; the first is a gap. While the server is away it waits, and
    /// tries to connect after 0.1 to 3 s. A user of Redis who may not subscribe
    /// to the channel waits for ever.
    ///
    /// Dropping the future half-way loses nothing.
    pub async fn next(&mut self) -> Heard {
        loop {
            let Some(live) = &mut self.live else {
                match self.connect().await {
                    Some(live) => {
                        (self.live, self.pause) = (Some(live), *PAUSES.start());
                        return Heard::Gap;
                    }
                    None => {
                        sleep(self.pause).await;
                        self.pause = (self.pause * 2).min(*PAUSES.end());
                        continue;
                    }
                }
            };
            let heard = timeout(SILENCE, live.on_message().next()).await;
            let there = match heard {
                Ok(Some(message)) => return Heard::Message(message.get_payload_bytes().to_vec()),
                Ok(None) => false,
                Err(_) => matches!(timeout(ANSWERS_WITHIN, live.ping::<Value>()).await, Ok(Ok(_))),
            };
            if !there {
                self.live = None;
            }
        }
    }

    /// Any node of a Cluster passes on what was said on another.
    async fn connect(&self) -> Option<PubSub> {
        let (nodes, within) = (self.redis.clients(), self.redis.connect_timeout());
        for node in &nodes {
            if let Ok(Ok(live)) = timeout(within, subscribed(node, &self.channel)).await {
                return Some(live);
            }
        }
        None
    }
}

async fn subscribed(node: &Client, channel: &str) -> Result<PubSub, RedisError> {
    let mut live = node.get_async_pubsub().await?;
    live.subscribe(channel).await?;
    Ok(live)
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("live", &self.live.is_some()).finish_non_exhaustive()
    }
}
