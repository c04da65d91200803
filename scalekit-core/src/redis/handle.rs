//! The handle: budget, gate, and what a failure means for the caller.

use std::{fmt, sync::Arc, time::Duration};

use ::redis::{Cmd, FromRedisValue, Pipeline, RedisError, Value, from_redis_value};
use tokio::time::Instant;

use super::{
    Call, Dedicated, RedisConfig, Subscription,
    classify::{Verdict, sent, unconnected, verdict},
    config::target,
    link::{Link, Links},
    stall::wait,
};
use crate::{Error, ErrorKind, Gate, Result};

/// How often a command follows a slot that has moved.
const REDIRECTS: u32 = 5;
/// What a Cluster is given to settle between two of them.
const REDIRECT_PAUSE: Duration = Duration::from_millis(10);

/// A handle to one Redis server or Cluster; clones share one multiplexed connection.
///
/// It connects when the first command needs it. Each command has a budget (150 ms by default, connecting
/// included). Where this process itself did not run when the time was over, an answer that lies unread is taken, within
/// as long again. A refused connection or three time-outs in a row count as down: commands then fail at once,
/// one probe goes out every 100 ms, and the handle is back within a second of the server. Commands are
/// never repeated behind the caller's back, except where the server said that it executed nothing: a slot
/// that moved, a script it does not have.
///
/// | what happened | error kind |
/// |---|---|
/// | no connection within the budget, or taken to be down | [`ErrorKind::Unavailable`]: nothing was sent |
/// | `LOADING`, `MASTERDOWN`, `CLUSTERDOWN`, `READONLY`, `OOM`, `BUSY` | [`ErrorKind::Unavailable`] |
/// | no answer within the budget, or the connection broke | [`ErrorKind::OutcomeUnknown`] |
/// | a reply of another type than asked for | [`ErrorKind::Corrupt`] |
/// | any other refusal | [`ErrorKind::Internal`] |
///
/// Guarantee: nothing queues while the server is down. Non-guarantee: a command whose answer did not come
/// in time may be executed later, even after one that was sent after it.
///
/// **Round trips**: one per [`query`](Self::query), [`pipeline`](Self::pipeline) and [`run`](Self::run).
///
/// ```no_run
/// use scalekit_core::redis::{Redis, cmd};
///
/// # async fn example() -> scalekit_core::Result<()> {
/// let redis = Redis::open("redis://127.0.0.1:6379")?;
/// let hits: i64 = redis.query(cmd("INCR").arg("hits")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    budget: Duration,
}

struct Shared {
    links: Links,
    gate: Gate,
}

impl Redis {
    /// One server: `redis://[user:password@]host[:port][/db]`, `rediss://` with the feature `redis-tls`, or
    /// `unix:///path[?db=..&user=..&pass=..]`. Speaks RESP3 unless the URL says `?protocol=resp2`.
    ///
    /// TLS is rustls with ring. A program that turns on another of its providers, too, must choose the one of the
    /// process (`CryptoProvider::install_default`) before it connects; else every connection fails.
    ///
    /// Does not connect yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a URL that cannot be used; the message does not show its password.
    pub fn open(url: &str) -> Result<Self> {
        Self::open_with(&[url], RedisConfig::default())
    }

    /// One server for one URL, a Cluster for several (any of its nodes).
    ///
    /// # Errors
    /// As [`open`](Self::open), for settings out of range, and for certificates that cannot be read.
    pub fn open_with(urls: &[impl AsRef<str>], config: RedisConfig) -> Result<Self> {
        let config = config.check()?;
        let (budget, links) = (config.io_budget, Links::new(target(urls, &config)?, config));
        Ok(Self { budget, shared: Arc::new(Shared { links, gate: Gate::new("redis is down") }) })
    }

    /// The same handle with at most this budget for a command: what is left of a request's time.
    #[must_use]
    pub fn within(&self, budget: Duration) -> Self {
        Self { shared: self.shared.clone(), budget: self.budget.min(budget) }
    }

    /// Whether the server is taken to be down, so that a command would fail at once.
    pub fn is_down(&self) -> bool {
        self.shared.gate.is_down()
    }

    /// Whether this is a Cluster.
    pub fn is_cluster(&self) -> bool {
        self.shared.links.is_cluster()
    }

    /// Sends one command.
    ///
    /// # Errors
    /// See the table above.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        read(self.execute(Work::One(command), self.deadline()).await)
    }

    /// Sends several commands in one round trip; on a Cluster their keys must share a slot.
    ///
    /// # Errors
    /// See the table above; if one command fails, the others may have been executed.
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        read(self.execute(Work::Many(pipeline), self.deadline()).await)
    }

    /// Runs a script; its source travels only where the server does not have it yet.
    ///
    /// **Round trips**: 1; 2 on the first run after the server's start or a `SCRIPT FLUSH`.
    ///
    /// # Errors
    /// See the table above.
    pub async fn run<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T> {
        let deadline = self.deadline();
        match self.execute(Work::One(&call.by_hash()), deadline).await {
            Err(Failure::Answer(error)) if verdict(&error) == Verdict::NoScript => {
                read(self.execute(Work::One(&call.by_source()), deadline).await)
            }
            outcome => read(outcome),
        }
    }

    /// A connection of its own for commands that block, such as `XREADGROUP .. BLOCK`; connects on first use.
    pub fn dedicated(&self) -> Dedicated {
        Dedicated::new(self.clone())
    }

    /// The messages of a channel, on a connection of its own; connects when the first is asked for.
    pub fn subscription(&self, channel: impl Into<String>) -> Subscription {
        Subscription::new(self.clone(), channel.into())
    }

    pub(super) fn links(&self) -> &Links {
        &self.shared.links
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.budget
    }

    async fn execute(&self, work: Work<'_>, deadline: Instant) -> Result<Value, Failure> {
        let mut redirects = 0;
        loop {
            match self.attempt(work, deadline).await {
                Err(Failure::Answer(error))
                    if verdict(&error) == Verdict::Moved && redirects < REDIRECTS && self.is_cluster() =>
                {
                    redirects += 1;
                    let wake = (Instant::now() + REDIRECT_PAUSE * (redirects - 1)).min(deadline);
                    tokio::time::sleep_until(wake).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// One command, sent at most once.
    async fn attempt(&self, work: Work<'_>, deadline: Instant) -> Result<Value, Failure> {
        let (gate, links) = (self.gate(), self.links());
        gate.admit()?;
        let (mut link, generation) = match wait(deadline, self.budget, links.get()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                gate.refused();
                return Err(unconnected(error).into());
            }
            Err(_) => {
                gate.timed_out();
                return Err(Error::new(ErrorKind::Unavailable, "redis did not connect in time").into());
            }
        };
        let error = match wait(deadline, self.budget, work.send(&mut link)).await {
            Ok(Ok(value)) => {
                gate.succeeded();
                return Ok(value);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                gate.timed_out();
                if gate.is_down() {
                    // A connection into a black hole never breaks by itself.
                    links.drop_link(generation);
                }
                return Err(Error::new(ErrorKind::OutcomeUnknown, "redis did not answer in time").into());
            }
        };
        match verdict(&error) {
            Verdict::Answered | Verdict::NoScript | Verdict::Moved => gate.succeeded(),
            // One node of a Cluster does not speak for the others.
            Verdict::NotReady | Verdict::Elsewhere | Verdict::Lost if links.is_cluster() => {
                gate.timed_out();
                if gate.is_down() {
                    links.drop_link(generation);
                }
            }
            Verdict::NotReady => gate.refused(),
            // A server that was demoted stays so for a while: it is asked again at the gate's pace.
            Verdict::Elsewhere => {
                links.drop_link(generation);
                gate.refused();
            }
            Verdict::Lost => links.drop_link(generation),
        }
        Err(Failure::Answer(error))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("cluster", &self.is_cluster())
            .field("down", &self.is_down())
            .field("budget", &self.budget)
            .finish()
    }
}

#[derive(Clone, Copy)]
enum Work<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
}

impl Work<'_> {
    async fn send(self, link: &mut Link) -> Result<Value, RedisError> {
        match self {
            Self::One(command) => link.send(command).await,
            Self::Many(pipeline) => pipeline.query_async(link).await,
        }
    }
}

/// Why there is no value.
enum Failure {
    /// The connection handed back this error after the command was given to it.
    Answer(RedisError),
    Known(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Known(error)
    }
}

fn read<T: FromRedisValue>(outcome: Result<Value, Failure>) -> Result<T> {
    match outcome {
        Ok(value) => from_redis_value(value).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "redis answered another type").with_source(error)
        }),
        Err(Failure::Answer(error)) => Err(sent(error)),
        Err(Failure::Known(error)) => Err(error),
    }
}
