//! A connection of its own, for commands that block.

use std::{fmt, sync::Arc, time::Duration};

use ::redis::{Cmd, FromRedisValue, Value};
use tokio::time::timeout_at;

use super::{
    Redis,
    classify::{Verdict, verdict},
    cluster::{Member, Walk},
    config::Target,
    handle::read,
    link::Link,
    node::{Failure, Limit, Node, Work},
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
    link: Option<(Link, Option<Arc<Member>>)>,
}

impl Dedicated {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, link: None }
    }

    /// Sends a command that blocks in the server for at most `wait`, which is added to the handle's budget.
    ///
    /// # Errors
    /// As [`Redis::query`]. After a time-out the connection is closed, so that a late answer goes nowhere.
    pub async fn query<T: FromRedisValue>(&mut self, command: &Cmd, wait: Duration) -> Result<T> {
        let redis = self.redis.clone();
        match redis.target() {
            Target::Server(node) => {
                let limit = Limit::of(redis.budget() + wait);
                read(self.send(node, None, Work::One(command), limit).await)
            }
            Target::Cluster(cluster) => {
                let (mut walk, limit) = (Walk::of(command), Limit::of(redis.budget() + wait));
                loop {
                    let member = cluster.next_stop(&mut walk, limit).await?;
                    let work = if walk.asking { Work::Asking(command) } else { Work::One(command) };
                    let outcome = self.send(&member.node, Some(&member), work, limit).await;
                    match outcome {
                        Err(failure) if cluster.follow(&mut walk, &member, &failure, limit).await => {}
                        outcome => return read(outcome),
                    }
                }
            }
        }
    }

    async fn send(
        &mut self,
        node: &Node,
        member: Option<&Arc<Member>>,
        work: Work<'_>,
        limit: Limit,
    ) -> Result<Value, Failure> {
        // Taken out: if this future is dropped half-way, the blocked connection goes with it.
        let (mut link, at) = match self.link.take() {
            Some((link, at))
                if !link.has_ended() && at.as_ref().map(Arc::as_ptr) == member.map(Arc::as_ptr) =>
            {
                (link, at)
            }
            _ => (node.own().await?, member.cloned()),
        };
        match timeout_at(limit.deadline, work.send(&mut link)).await {
            Ok(Ok(value)) => {
                node.gate.succeeded();
                self.link = Some((link, at));
                Ok(value)
            }
            Ok(Err(error)) => {
                if !matches!(verdict(&error), Verdict::Lost | Verdict::Elsewhere | Verdict::NotReady) {
                    self.link = Some((link, at));
                }
                Err(Failure::Answer(error))
            }
            Err(_) => {
                node.gate.timed_out();
                let error = Error::new(ErrorKind::OutcomeUnknown, "redis did not answer in time");
                Err(Failure::Unanswered(error))
            }
        }
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated").field("connected", &self.link.is_some()).finish_non_exhaustive()
    }
}
