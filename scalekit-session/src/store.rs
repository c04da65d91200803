//! What a session store does. Redis and memory keep the same contract, tested by one suite.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use scalekit_core::{Error, ErrorKind, OperationId, Result};

#[cfg(feature = "redis")]
pub(crate) mod eviction;
pub(crate) mod memory;
mod outcome;
pub(crate) mod record;
#[cfg(feature = "redis")]
pub(crate) mod redis;

pub use outcome::{
    Change, Committed, Created, Creation, Ending, Listed, Loaded, Removed, Replaced, Rotated, Successor, Told,
};
pub use record::{Record, SessionKey};

/// How long a mark stays: longer than a request takes that was under way when its session ended.
pub(crate) const MARK: Duration = Duration::from_secs(60);
/// How long a guest's content may still be read after a sign-in took it over, in case the answer was lost.
pub(crate) const RETIREMENT: Duration = Duration::from_secs(30);

/// Where sessions live: [`MemoryStore`](crate::MemoryStore), or with the feature `redis`
/// [`RedisStore`](crate::RedisStore). An `Arc<dyn Store>` is one too.
///
/// Every method is atomic, and takes one round trip and at most `budget`. Deadlines are by the store's
/// clock; a session past its deadline is not there.
///
/// | what is under a key | holds | `load` | `commit` | `end` |
/// |---|---|---|---|---|
/// | nothing | | `Missing` | `Missing` | `Gone` |
/// | a session | fields, metadata | `Live` | `Done` | `Done` |
/// | a guest's session whose content a sign-in took over | the same, until when | `Live`, then `Ended` | `Ended` | `Gone` |
/// | a rotated session's former key | the key that it has now | `Forwarded` | as under that key | as under that key |
/// | the same, after the grace | the same, until when | `Reused` | `Ended` | as under that key |
/// | the same, of a rotation without a grace | the same | `Ended` | `Ended` | as under that key |
/// | the mark of a session that was ended | nothing | `Ended` | `Ended` | `Gone` |
///
/// A former key forwards until the new one is first read, and for the grace after that; so a client that never got the
/// new one loses nothing. A commit with an operation id follows in any case: its changes were decided before.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads a session, and moves its idle deadline if that gains at least a tenth of the idle time. What may still be
    /// opened in case the session's secret was not delivered ends, or its grace begins.
    async fn load(&self, key: &SessionKey, rules: &Rules, budget: Duration) -> Result<Loaded>;

    /// Makes all changes or none; never creates a session. With an operation id, at most once for it.
    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        budget: Duration,
    ) -> Result<Committed>;

    /// Writes a session that was not there, and ends the one it replaces, if unchanged since it was read.
    async fn create(&self, creation: &Creation, rules: &Rules, budget: Duration) -> Result<Created>;

    /// Ends a session and its entry in its user's index; with a version, only if it still has that.
    async fn end(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        ending: Ending,
        budget: Duration,
    ) -> Result<Removed>;

    /// Moves a session to a key of the same prefix. One that leaves no grace moves a session that was rotated meanwhile,
    /// too.
    async fn rotate(
        &self,
        from: &SessionKey,
        to: &SessionKey,
        successor: Successor,
        budget: Duration,
    ) -> Result<Rotated>;

    /// The live sessions of an index, newest first.
    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>>;

    /// Ends all sessions of an index but `except`, whichever of its keys that names; returns how many.
    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64>;

    /// Finds a session without using it: the key that it has now.
    async fn peek(&self, key: &SessionKey, budget: Duration) -> Result<Option<SessionKey>>;

    /// What is told about the sessions of a namespace from now on; the first is a gap. Costs nothing until it is asked.
    fn tidings(&self, namespace: &str) -> Box<dyn Tidings>;

    /// Whether one call may name keys of different prefixes; in a Cluster they are on different servers.
    fn spans_prefixes(&self) -> bool;

    /// Tells the other nodes of a namespace what this one says, for as long as it is taken to be alive, and what they
    /// say. A store of one process hears nobody.
    async fn meet(
        &self,
        _namespace: &str,
        _node: &str,
        _says: &str,
        _alive: Duration,
        _budget: Duration,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// What becomes of sessions, as it happens; see [`Store::tidings`].
#[async_trait]
pub trait Tidings: Send {
    /// The next one; waits for it, also while the store is away.
    async fn next(&mut self) -> Told;
}

/// Limits and deadlines of sessions.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long a session lives without a request.
    pub idle: Duration,
    /// How long it lives at most.
    pub absolute: Duration,
    /// How long a rotated session's former key leads to it once the new one was read.
    pub grace: Duration,
    /// How many fields and members it may hold, metadata not counted.
    pub max_fields: usize,
    /// How many bytes their names and values may have.
    pub max_bytes: usize,
    /// How many sessions of one user are kept; the oldest go first.
    pub max_sessions: usize,
}

impl Rules {
    /// The same, for a session that takes over another one's content: that it has lived with, whatever the limits are now.
    pub(crate) fn with_room_for(&self, kept: Option<&Record>) -> Self {
        let held = kept.map(Record::size).unwrap_or_default();
        Self {
            max_fields: self.max_fields.max(held.fields),
            max_bytes: self.max_bytes.max(held.bytes),
            ..self.clone()
        }
    }

    /// Whether sessions can live so long.
    pub(crate) fn check(&self) -> Result<()> {
        let Self { idle, absolute, .. } = self;
        let refuse = |message| Err(Error::new(ErrorKind::Config, message));
        if *idle < Duration::from_millis(100) || idle > absolute {
            return refuse(format!(
                "sessions: idle {idle:?} must be at least 100 ms and at most absolute {absolute:?}"
            ));
        }
        if *absolute > Duration::from_secs(400 * 86_400) {
            return refuse(format!("sessions: absolute {absolute:?} is above 400 days"));
        }
        Ok(())
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn load(&self, key: &SessionKey, rules: &Rules, budget: Duration) -> Result<Loaded> {
        (**self).load(key, rules, budget).await
    }

    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        budget: Duration,
    ) -> Result<Committed> {
        (**self).commit(key, changes, operation, rules, budget).await
    }

    async fn create(&self, creation: &Creation, rules: &Rules, budget: Duration) -> Result<Created> {
        (**self).create(creation, rules, budget).await
    }

    async fn end(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        ending: Ending,
        budget: Duration,
    ) -> Result<Removed> {
        (**self).end(key, version, ending, budget).await
    }

    async fn rotate(
        &self,
        from: &SessionKey,
        to: &SessionKey,
        successor: Successor,
        budget: Duration,
    ) -> Result<Rotated> {
        (**self).rotate(from, to, successor, budget).await
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>> {
        (**self).list(index, prefix, rules, budget).await
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64> {
        (**self).revoke(index, prefix, except, budget).await
    }

    async fn peek(&self, key: &SessionKey, budget: Duration) -> Result<Option<SessionKey>> {
        (**self).peek(key, budget).await
    }

    fn tidings(&self, namespace: &str) -> Box<dyn Tidings> {
        (**self).tidings(namespace)
    }

    fn spans_prefixes(&self) -> bool {
        (**self).spans_prefixes()
    }

    async fn meet(
        &self,
        namespace: &str,
        node: &str,
        says: &str,
        alive: Duration,
        budget: Duration,
    ) -> Result<Vec<String>> {
        (**self).meet(namespace, node, says, alive, budget).await
    }
}
