//! What a session store does. Redis and memory keep the same contract, tested by one suite.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use scalekit_core::{Error, ErrorKind, OperationId, Principal, Result};

pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;

pub(crate) const VERSION: &str = "!v";
pub(crate) const CREATED: &str = "!c";
pub(crate) const DEADLINE: &str = "!a";
pub(crate) const USER: &str = "!u";
pub(crate) const DEVICE: &str = "!d";
pub(crate) const INDEX: &str = "!i";
pub(crate) const LINEAGE: &str = "!l";
pub(crate) const OPERATIONS: &str = "!o";
/// All that a marker holds: the session of this key was ended a moment ago.
pub(crate) const ENDED: &str = "!x";
/// How long a marker stays: longer than a request takes that was under way when its session ended.
pub(crate) const MARKER: Duration = Duration::from_secs(60);

/// Where sessions live: [`MemoryStore`](crate::MemoryStore), or with the feature `redis`
/// [`RedisStore`](crate::RedisStore). An `Arc<dyn Store>` is one too.
///
/// Every method is atomic, and takes one round trip and at most `budget`. Deadlines are by the store's
/// clock; a session past its deadline is not there.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads a session, and moves its idle deadline if that gains at least a tenth of the idle time.
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

    /// Writes a session that was not there, and removes the one it replaces, if unchanged since it was read.
    async fn create(&self, creation: &Creation, rules: &Rules, budget: Duration) -> Result<Created>;

    /// Removes a session and its entry in its user's index; with a version, only if it still has that. With
    /// `mark`, its key tells for a minute that it was ended and did not expire.
    async fn remove(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        mark: bool,
        budget: Duration,
    ) -> Result<Removed>;

    /// The live sessions of an index, newest first.
    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>>;

    /// Removes all sessions of an index but `except`; returns how many.
    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64>;
}

/// Limits and deadlines of sessions.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long a session lives without a request.
    pub idle: Duration,
    /// How long it lives at most.
    pub absolute: Duration,
    /// How many fields and members it may hold, metadata not counted.
    pub max_fields: usize,
    /// How many bytes their names and values may have.
    pub max_bytes: usize,
    /// How many sessions of one user are kept; the oldest go first.
    pub max_sessions: usize,
}

impl Rules {
    /// The idle deadline moves only if it gains this much.
    pub fn touch_step(&self) -> Duration {
        self.idle / 10
    }
}

/// How large a session is: its fields and the bytes of their names and values, without the `!` metadata.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    fields: usize,
    bytes: usize,
}

impl Size {
    pub(crate) fn of(fields: &BTreeMap<String, String>) -> Self {
        let own = fields.iter().filter(|(name, _)| !name.starts_with('!'));
        own.fold(Self { fields: 0, bytes: 0 }, |size, (name, value)| Self {
            fields: size.fields + 1,
            bytes: size.bytes + name.len() + value.len(),
        })
    }

    /// A limit refuses only what grows beyond it: a session that is above it already may shrink.
    pub(crate) fn fits(self, before: Option<Self>, rules: &Rules) -> bool {
        let before = before.unwrap_or(Self { fields: 0, bytes: 0 });
        (self.fields <= rules.max_fields || self.fields <= before.fields)
            && (self.bytes <= rules.max_bytes || self.bytes <= before.bytes)
    }
}

/// The key of a session: all keys with the same prefix share a slot of a Cluster. Holds no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// The same for all sessions of one user.
    pub prefix: String,
    /// Tells them apart: a digest of the cookie's secret.
    pub member: String,
}

impl SessionKey {
    /// The whole key.
    pub fn full(&self) -> String {
        [self.prefix.as_str(), &self.member].concat()
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// A session as it is stored: fields and `!` metadata.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record(pub BTreeMap<String, String>);

impl Record {
    /// How often it was changed.
    pub fn version(&self) -> u64 {
        self.number(VERSION)
    }

    /// When it was created, in milliseconds since the Unix epoch by the store's clock.
    pub fn created_ms(&self) -> u64 {
        self.number(CREATED)
    }

    /// Who is signed in.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it cannot be read.
    pub fn user(&self) -> Result<Option<Principal>> {
        let Some(text) = self.0.get(USER) else { return Ok(None) };
        let (tenant, user): (String, String) = serde_json::from_str(text).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "a session's user cannot be read").with_source(error)
        })?;
        Ok(Some(Principal::user(user).tenant(tenant)))
    }

    /// The id that the session keeps when it is rotated.
    pub fn lineage(&self) -> Option<&str> {
        self.0.get(LINEAGE).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

// Shows how many fields, not what they hold.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} fields)", self.0.len())
    }
}

/// One change of a stored field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Change {
    /// Writes it.
    #[serde(rename = "s")]
    Set(String, String),
    /// Removes it.
    #[serde(rename = "r")]
    Remove(String),
    /// Adds to its number; with `true`, removes it if that is 0 or less.
    #[serde(rename = "a")]
    Add(String, i64, bool),
    /// Writes the second value only if it still holds the first.
    #[serde(rename = "c")]
    Swap(String, Option<String>, String),
}

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Loaded {
    /// A session.
    Live(Record),
    /// The mark of a session that was ended a moment ago.
    Ended,
    /// Nothing: it expired, was removed without a mark, or never was.
    Missing,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Committed {
    /// All changes were made.
    Done,
    /// The operation had been applied before; nothing was changed.
    Before,
    /// There is no such session: it expired, or was lost; nothing was changed.
    Missing,
    /// It was ended a moment ago, and left its mark; nothing was changed.
    Ended,
    /// A field to be swapped holds another value; nothing was changed. The session as it is now.
    Conflict(Record),
    /// The session would pass a limit of the [`Rules`]; nothing was changed.
    Full,
    /// A field to be added to holds no number, or a number would pass 10^15; nothing was changed.
    NotANumber,
}

/// A session to be created.
#[derive(Clone, Debug)]
pub struct Creation {
    /// Where.
    pub key: SessionKey,
    /// Fields and metadata, without version, time of creation and deadline.
    pub fields: BTreeMap<String, String>,
    /// The index of its user.
    pub index: Option<String>,
    /// The session it replaces, in the same slot, and the version it was read in.
    pub replaces: Option<(SessionKey, u64)>,
    /// Whether it may overwrite a session of the same key: one that this very caller has just created.
    pub again: bool,
}

impl Creation {
    pub(crate) fn fits(&self, rules: &Rules) -> bool {
        Size::of(&self.fields).fits(None, rules)
    }
}

/// What became of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Created {
    /// It is there, and the replaced one is not.
    Done,
    /// The key is taken; nothing was changed.
    Taken,
    /// The session to be replaced has changed; nothing was written. The session as it is now.
    Changed(Record),
    /// The session would pass a limit of the [`Rules`]; nothing was written.
    Full,
}

/// What became of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Removed {
    /// It was there and is not any more.
    Done,
    /// It was not there.
    Gone,
    /// It has another version and is still there.
    Changed(Record),
}

/// A session in a user's index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The last part of its key.
    pub member: String,
    /// When it was created, in milliseconds since the Unix epoch by the store's clock.
    pub created_ms: u64,
    /// What the user signed in from.
    pub device: String,
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

    async fn remove(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        mark: bool,
        budget: Duration,
    ) -> Result<Removed> {
        (**self).remove(key, version, mark, budget).await
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>> {
        (**self).list(index, prefix, rules, budget).await
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64> {
        (**self).revoke(index, prefix, except, budget).await
    }
}
