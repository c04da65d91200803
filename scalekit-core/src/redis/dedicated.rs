//! A connection of its own, for commands that block.

use std::{fmt, time::Duration};

use ::redis::{Cmd, FromRedisValue, from_redis_value};
use tokio::time::{Instant, timeout_at};

use super::{
    Redis,
    classify::{Verdict, sent, unconnected, verdict},
    link::Link,
};
use crate::{Error, ErrorKind, Result};

/// A connection that nobody else uses; see [`Redis::dedicated`]. Connects when needed, again after a loss.
///
/// ```no_run
/// use scalekit_core::redis::{Redis, cmd};
/// use std::time::Duration;
///
/// # async fn example(redis: Redis) -> scalekit_core::Result<()> {
/// let mut reader = redis.dedicated();
/// let job: Option<(String, String)> =
///     reader.query(cmd("BLPOP").arg("jobs").arg(5), Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
pub struct Dedicated {
    redis: Redis,
    link: Option<Link>,
}

impl Dedicated {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, link: None }
    }

    /// Sends a command that blocks in the server for at most `wait`, which is added to the handle's budget.
    /// On a Cluster, `wait` must stay below a minute.
    ///
    /// # Errors
    /// As [`Redis::query`]. After a time-out the connection is closed, so that a late answer goes nowhere.
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd, wait: Duration) -> Result<T> {
        let gate = self.redis.gate();
        // Taken out: if this future is dropped half-way, the blocked connection goes with it.
        let link = match self.link.take() {
            Some(link) if !link.has_ended() => link,
            _ => {
                gate.admit()?;
                match timeout_at(
                    Instant::now() + self.redis.links().connect_timeout(),
                    self.redis.links().own(),
                )
                .await
                {
                    Ok(Ok(link)) => link,
                    Ok(Err(error)) => {
                        gate.refused();
                        return Err(unconnected(error));
                    }
                    Err(_) => {
                        gate.timed_out();
                        return Err(Error::new(ErrorKind::Unavailable, "redis did not connect in time"));
                    }
                }
            }
        };
        let mut link = link;
        match timeout_at(self.redis.deadline() + wait, link.send(command)).await {
            Ok(Ok(value)) => {
                gate.succeeded();
                self.link = Some(link);
                from_redis_value(value).map_err(|error| {
                    Error::new(ErrorKind::Corrupt, "redis answered another type").with_source(error)
                })
            }
            Ok(Err(error)) => {
                if matches!(verdict(&error), Verdict::Answered | Verdict::NoScript | Verdict::Moved) {
                    self.link = Some(link);
                }
                Err(sent(error))
            }
            Err(_) => {
                gate.timed_out();
                Err(Error::new(ErrorKind::OutcomeUnknown, "redis did not answer in time"))
            }
        }
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated").field("connected", &self.link.is_some()).finish_non_exhaustive()
    }
}
