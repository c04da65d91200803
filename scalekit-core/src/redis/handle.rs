//! The handle: budget, gate, and what a failure means for the caller.

use std::{fmt, sync::Arc, time::Duration};

use ::redis::{Client, Cmd, FromRedisValue, Pipeline, Value, from_redis_value};

use super::{
    Call, Dedicated, RedisConfig, Subscription,
    classify::{Verdict, verdict},
    config::{Target, target},
    node::{Entry, Failure, Limit, Work},
};
use crate::{Error, ErrorKind, Result};

/// A handle to one Redis server or Cluster; clones share one multiplexed connection.
///
/// It connects when the first command needs it. Each command has a budget (150 ms by default, connecting
/// included). Where this process itself did not run when the time was over, an answer that lies unread is taken, within
/// as long again. A refused connection or three time-outs in a row count as down: commands then fail at once,
/// one probe goes out every 100 ms, and the handle is back within a second of the server. Commands are
/// never repeated behind the caller's back, except where the server said that it executed nothing: a slot
/// that moved, a script it does not have, a node that is not ready.
///
/// In a Cluster each node has a connection of its own and is up or down by itself: a node that hangs or dies fails the
/// commands to its slots and no others (unless `cluster-require-full-coverage` has Redis itself refuse them). Who serves a slot is asked of any node that answers, named or not, and learnt from
/// each redirect (`MOVED`); while a slot moves, commands follow it (`ASK`, `TRYAGAIN`). Where a replica takes over from a
/// dead master, commands go there some 100 ms after it is promoted.
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
/// in time may be executed later, even after one that was sent after it. What a server acknowledged may be lost with it:
/// Redis replicates after it has answered. While a slot moves, a script that touches keys which it does not name is refused
/// half-way if such a key is on the other node.
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
    target: Target,
    connect_timeout: Duration,
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

    /// One server for one URL, a Cluster for several (any of its nodes; they share user, password and TLS with those that
    /// are not named, and one that answers is enough).
    ///
    /// # Errors
    /// As [`open`](Self::open), for settings out of range, for certificates that cannot be read, and for URLs that cannot
    /// be those of one Cluster.
    pub fn open_with(urls: &[impl AsRef<str>], config: RedisConfig) -> Result<Self> {
        let config = config.check()?;
        let target = target(urls, &config)?;
        let RedisConfig { io_budget: budget, connect_timeout, .. } = config;
        Ok(Self { budget, shared: Arc::new(Shared { target, connect_timeout }) })
    }

    /// The same handle with at most this budget for a command: what is left of a request's time.
    #[must_use]
    pub fn within(&self, budget: Duration) -> Self {
        Self { shared: self.shared.clone(), budget: self.budget.min(budget) }
    }

    /// Whether the server is taken to be down, so that a command would fail at once; of a Cluster, all its masters.
    pub fn is_down(&self) -> bool {
        match &self.shared.target {
            Target::Server(node) => node.gate.is_down(),
            Target::Cluster(cluster) => cluster.is_down(),
        }
    }

    /// Whether this is a Cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.shared.target, Target::Cluster(_))
    }

    /// Sends one command. In a Cluster it goes to the node of its first key, and all its keys must share a slot; one
    /// without a key goes to any node.
    ///
    /// # Errors
    /// See the table above.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        read(self.command(command, self.limit()).await)
    }

    /// Sends one command without a key to the server, or to each master of a Cluster; their answers in no order.
    ///
    /// **Round trips**: 1, to all at once.
    ///
    /// ```no_run
    /// # async fn example(redis: scalekit_core::redis::Redis) -> scalekit_core::Result<()> {
    /// use scalekit_core::redis::cmd;
    ///
    /// let keys: u64 = redis.query_each::<u64>(&cmd("DBSIZE")).await?.iter().sum();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See the table above; if one node fails, the others may have executed it.
    pub async fn query_each<T: FromRedisValue>(&self, command: &Cmd) -> Result<Vec<T>> {
        let answers = match &self.shared.target {
            Target::Cluster(cluster) => cluster.each(command, self.limit()).await?,
            Target::Server(_) => vec![self.command(command, self.limit()).await?],
        };
        answers.into_iter().map(|answer| read(Ok(answer))).collect()
    }

    /// Sends several commands in one round trip; on a Cluster their keys must share a slot. Those that a Cluster
    /// redirects are sent again, the others not.
    ///
    /// # Errors
    /// See the table above; if one command fails, the others may have been executed.
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T> {
        read(match &self.shared.target {
            Target::Server(node) => node.attempt(Work::Many(pipeline), self.limit(), Entry::Gated).await,
            Target::Cluster(cluster) => cluster.pipeline(pipeline, self.limit()).await,
        })
    }

    /// Runs a script; its source travels only where the server does not have it yet.
    ///
    /// **Round trips**: 1; 2 on the first run after the server's start or a `SCRIPT FLUSH`.
    ///
    /// # Errors
    /// See the table above.
    pub async fn run<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T> {
        let limit = self.limit();
        match self.command(&call.by_hash(), limit).await {
            Err(Failure::Answer(error)) if verdict(&error) == Verdict::NoScript => {
                read(self.command(&call.by_source(), limit).await)
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

    pub(super) fn target(&self) -> &Target {
        &self.shared.target
    }

    /// Clients of the servers to turn to where any will do, in the order in which to try them.
    pub(super) fn clients(&self) -> Vec<Client> {
        match &self.shared.target {
            Target::Server(node) => vec![node.links.client().clone()],
            Target::Cluster(cluster) => cluster.clients(),
        }
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        self.shared.connect_timeout
    }

    pub(super) fn budget(&self) -> Duration {
        self.budget
    }

    fn limit(&self) -> Limit {
        Limit::of(self.budget)
    }

    async fn command(&self, command: &Cmd, limit: Limit) -> Result<Value, Failure> {
        match &self.shared.target {
            Target::Server(node) => node.attempt(Work::One(command), limit, Entry::Gated).await,
            Target::Cluster(cluster) => cluster.command(command, limit).await,
        }
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

/// Reads the answer as the type that was asked for.
pub(super) fn read<T: FromRedisValue>(outcome: Result<Value, Failure>) -> Result<T> {
    from_redis_value(outcome?)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "redis answered another type").with_source(error))
}
