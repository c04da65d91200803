//! Where the streams of a namespace are, and who reads them.

use std::{fmt, sync::Arc};

use scalekit_core::{Error, ErrorKind, Result, redis::Redis};
use uuid::Uuid;

use super::feed::Feed;
use crate::{Consumer, Handler, LANES};

/// Longest namespace, group and database name, in bytes.
const NAME: usize = 64;

/// The streams that a consumer group reads: `<namespace>:e:{<database>.<lane>}` for each of 64 lanes.
///
/// The consumers of a group, in any number of processes, divide the lanes among them: a lane has one reader at a
/// time, so events of a key stay in order. The lanes of a consumer that died go to others within 15 s; one that
/// still works keeps them by a lease that it renews. Entries are acknowledged when the handler is done with them
/// and are never deleted here: trim the streams below what all groups have acknowledged, if at all.
///
/// | what fails | what happens |
/// |---|---|
/// | Redis | nothing is read; the events that are in work are finished, and acknowledged when it is back |
/// | Redis loses its data | what was not handled yet is lost with it; run it with `appendonly yes` |
/// | a key is stuck, whatever waits behind it | other keys go on; of 100,000 waiting entries a lane remembers the places, and is read no further beyond that |
/// | an entry is deleted or trimmed before its turn | it is acknowledged, with an error in the log, and the next has its turn |
/// | a consumer dies | its unacknowledged events come again, in order, at another |
/// | a consumer is halted for longer than its lease | the events it was handling come again elsewhere; one may end late |
///
/// ```no_run
/// # use std::sync::Arc;
/// # async fn f(handler: Arc<dyn scalekit_outbox::Handler>) -> scalekit_core::Result<()> {
/// use scalekit_core::redis::Redis;
/// use scalekit_outbox::{Consumer, RedisStreams};
///
/// let redis = Redis::open("redis://127.0.0.1:6379")?;
/// let streams = RedisStreams::new(redis, "shop", "payments", &["east", "west"])?;
/// let consumer = Consumer::of_redis(streams, handler);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisStreams {
    pub(super) redis: Redis,
    pub(super) namespace: Arc<str>,
    pub(super) group: Arc<str>,
    pub(super) databases: Arc<[Arc<str>]>,
}

impl RedisStreams {
    /// The streams of these databases, read by this group. Namespace and databases are those of the [`RedisSink`](crate::RedisSink)
    /// and the [`Relay`](crate::Relay)s that write: a name that no relay has stays empty, which is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a name that is empty, longer than 64 bytes, or has other characters than
    /// `A-Z a-z 0-9 _ - .`, and for an empty list.
    pub fn new(redis: Redis, namespace: &str, group: &str, databases: &[&str]) -> Result<Self> {
        check("namespace", namespace)?;
        check("group", group)?;
        if databases.is_empty() {
            return Err(Error::new(ErrorKind::Config, "a consumer needs at least one database"));
        }
        databases.iter().try_for_each(|database| check("database", database))?;
        let databases = databases.iter().map(|database| Arc::from(*database)).collect();
        Ok(Self { redis, namespace: namespace.into(), group: group.into(), databases })
    }

    /// Every lane of every database.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (Arc<str>, u8)> {
        self.databases.iter().flat_map(|database| (0..LANES).map(|lane| (Arc::clone(database), lane)))
    }

    pub(super) fn stream(&self, database: &str, lane: u8) -> String {
        stream(&self.namespace, database, lane)
    }

    pub(super) fn owner(&self, database: &str, lane: u8) -> String {
        format!("{}:{}:owner", self.stream(database, lane), self.group)
    }

    pub(super) fn members(&self) -> String {
        format!("{}:e:{{{}}}:members", self.namespace, self.group)
    }

    pub(super) fn parked_key(&self) -> String {
        format!("{}:e:{{{}}}:parked", self.namespace, self.group)
    }
}

impl fmt::Debug for RedisStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStreams")
            .field("namespace", &self.namespace)
            .field("group", &self.group)
            .field("databases", &self.databases)
            .finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer of what [`RedisSink`](crate::RedisSink)s wrote.
    pub fn of_redis(streams: RedisStreams, handler: Arc<dyn Handler>) -> Self {
        Self::of(Box::new(Feed::new(streams, Uuid::now_v7())), handler)
    }
}

/// The stream of a lane.
pub(super) fn stream(namespace: &str, database: &str, lane: u8) -> String {
    format!("{namespace}:e:{{{database}.{lane}}}")
}

/// No brace may move a key into another slot, and no separator may make two names one.
pub(super) fn check(what: &str, name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if (1..=NAME).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let message = format!("the {what} must be 1 to {NAME} of A-Z, a-z, 0-9, _, - and .: {name:?}");
    Err(Error::new(ErrorKind::Config, message))
}
