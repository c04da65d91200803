//! Sessions in Redis: one hash each, one script for each operation.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use scalekit_core::{
    Error, ErrorKind, OperationId, Result,
    redis::{Call, Redis, Script},
};

use super::{
    Change, Committed, Created, Creation, ENDED, Listed, Loaded, MARKER, Record, Removed, Rules, SessionKey,
    Store,
};

static LOAD: Script = Script::new(include_str!("../lua/load.lua"));
static COMMIT: Script = Script::new(include_str!("../lua/commit.lua"));
static CREATE: Script = Script::new(include_str!("../lua/create.lua"));
static REMOVE: Script = Script::new(include_str!("../lua/remove.lua"));
static LIST: Script = Script::new(include_str!("../lua/list.lua"));
static REVOKE: Script = Script::new(include_str!("../lua/revoke.lua"));

/// Sessions in Redis 6.2 or later, or Valkey; one server or a Cluster.
///
/// Every operation is one script on keys of one slot, and takes one round trip. Deadlines are by the Redis
/// clock. Keys hold a digest of the cookie's secret: nobody who reads the store can take over a session.
/// A server that loses writes in a fail-over loses them for sessions too.
///
/// ```
/// use scalekit_core::{KeyRing, redis::Redis};
/// use scalekit_session::{RedisStore, Sessions};
///
/// # fn main() -> scalekit_core::Result<()> {
/// let redis = Redis::open("redis://127.0.0.1:6379")?;
/// let sessions = Sessions::builder(RedisStore::new(redis), KeyRing::generate()?).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedisStore {
    redis: Redis,
}

impl RedisStore {
    /// Sessions behind this handle.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// Runs a script that answers with a word and, after some words, a session.
    async fn word(&self, call: &Call<'_>, budget: Duration) -> Result<(String, Record)> {
        let mut answer: Vec<String> = self.redis.within(budget).run(call).await?;
        if answer.is_empty() {
            return Err(corrupt());
        }
        let word = answer.remove(0);
        Ok((word, record(answer)?))
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn load(&self, key: &SessionKey, rules: &Rules, budget: Duration) -> Result<Loaded> {
        let call = LOAD.key(key.full()).arg(ms(rules.idle)).arg(ms(rules.touch_step()));
        let record = record(self.redis.within(budget).run(&call).await?)?;
        Ok(match record.0.is_empty() {
            true => Loaded::Missing,
            false if record.0.contains_key(ENDED) => Loaded::Ended,
            false => Loaded::Live(record),
        })
    }

    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        budget: Duration,
    ) -> Result<Committed> {
        let call = COMMIT.key(key.full()).arg(ms(rules.idle)).arg(ms(rules.touch_step()));
        let call = call.arg(operation.map(|id| id.to_string()).unwrap_or_default());
        let call = changes.iter().fold(call.arg(rules.max_fields).arg(rules.max_bytes), with_change);
        let (word, now) = self.word(&call, budget).await?;
        match word.as_str() {
            "done" => Ok(Committed::Done),
            "before" => Ok(Committed::Before),
            "missing" => Ok(Committed::Missing),
            "ended" => Ok(Committed::Ended),
            "conflict" => Ok(Committed::Conflict(now)),
            "full" => Ok(Committed::Full),
            "number" => Ok(Committed::NotANumber),
            _ => Err(corrupt()),
        }
    }

    async fn create(&self, creation: &Creation, rules: &Rules, budget: Duration) -> Result<Created> {
        if !creation.fits(rules) {
            return Ok(Created::Full);
        }
        let mut call = CREATE.key(creation.key.full());
        if let Some(index) = &creation.index {
            call = call.key(index);
        }
        let mut version = None;
        if let Some((old, read)) = &creation.replaces {
            if creation.index.is_none() {
                return Err(Error::new(ErrorKind::Misuse, "only a session with a user replaces another"));
            }
            call = call.key(old.full());
            version = Some(*read);
        }
        let call = call.arg(ms(rules.idle)).arg(ms(rules.absolute));
        let call = call.arg(if creation.again { "again" } else { "new" });
        let call = call.arg(version.unwrap_or_default()).arg(&creation.key.member).arg(&creation.key.prefix);
        let call = creation
            .fields
            .iter()
            .fold(call.arg(rules.max_sessions), |call, (name, value)| call.arg(name).arg(value));
        let (word, now) = self.word(&call, budget).await?;
        match word.as_str() {
            "done" => Ok(Created::Done),
            "taken" => Ok(Created::Taken),
            "changed" => Ok(Created::Changed(now)),
            _ => Err(corrupt()),
        }
    }

    async fn remove(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        mark: bool,
        budget: Duration,
    ) -> Result<Removed> {
        let version = version.map(|version| version.to_string()).unwrap_or_default();
        let call = REMOVE.key(key.full()).arg(version).arg(&key.member);
        let call = call.arg(if mark { ms(MARKER) } else { 0 });
        let (word, now) = self.word(&call, budget).await?;
        match word.as_str() {
            "done" => Ok(Removed::Done),
            "gone" => Ok(Removed::Gone),
            "changed" => Ok(Removed::Changed(now)),
            _ => Err(corrupt()),
        }
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>> {
        let call = LIST.key(index).arg(prefix).arg(rules.max_sessions);
        let answer: Vec<String> = self.redis.within(budget).run(&call).await?;
        let listed = |one: &[String; 3]| {
            let [member, created, device] = one;
            let created_ms = created.parse().map_err(|_| corrupt())?;
            Ok(Listed { member: member.clone(), created_ms, device: device.clone() })
        };
        answer.as_chunks::<3>().0.iter().map(listed).collect()
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64> {
        let call = REVOKE.key(index).arg(prefix).arg(except.unwrap_or_default());
        self.redis.within(budget).run(&call).await
    }
}

fn with_change<'a>(call: Call<'a>, change: &Change) -> Call<'a> {
    match change {
        Change::Set(field, value) => call.arg("s").arg(field).arg(value).arg(""),
        Change::Remove(field) => call.arg("r").arg(field).arg("").arg(""),
        Change::Add(field, by, floor) => call.arg("a").arg(field).arg(by).arg(i32::from(*floor)),
        Change::Swap(field, old, new) => {
            let old = old.as_ref().map(|old| format!("={old}")).unwrap_or_default();
            call.arg("c").arg(field).arg(old).arg(format!("={new}"))
        }
    }
}

/// Fields and values in turn.
fn record(flat: Vec<String>) -> Result<Record> {
    let (pairs, rest) = flat.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(corrupt());
    }
    Ok(Record(pairs.iter().cloned().map(|[name, value]| (name, value)).collect::<BTreeMap<_, _>>()))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn corrupt() -> Error {
    Error::new(ErrorKind::Corrupt, "a session script answered what cannot be read")
}
