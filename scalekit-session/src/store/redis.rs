//! Sessions in Redis: one hash each, one script for each operation.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use scalekit_core::{
    Clock, Error, ErrorKind, OperationId, Result, SystemClock,
    redis::{Call, Heard, Redis, Script, Subscription, pipe},
};
use tokio::sync::Semaphore;

use super::{
    Change, Committed, Created, Creation, Ending, Listed, Loaded, Record, Removed, Replaced, Rotated, Rules,
    SessionKey, Store, Successor, Tidings, Told,
    record::{DEADLINE, GUEST, PREDECESSOR},
};

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("../lua/common.lua"), include_str!(concat!("../lua/", $file))))
    };
}

static LOAD: Script = script!("load.lua");
static COMMIT: Script = script!("commit.lua");
static CREATE: Script = script!("create.lua");
static END: Script = script!("end.lua");
static ROTATE: Script = script!("rotate.lua");
static LIST: Script = script!("list.lua");
static REVOKE: Script = script!("revoke.lua");
static MEET: Script = script!("meet.lua");
static PEEK: Script = script!("peek.lua");

/// Deadlines of one store that are being moved at a time; what comes beyond is left to the next read.
const TOUCHES: usize = 64;

/// Sessions in Redis 6.2 or later, or Valkey; one server or a Cluster.
///
/// A read is two plain commands in one round trip, which cost the server a quarter of what a script does; where it finds
/// more than a session as it mostly is (a deadline to be moved, a rotation), a script follows. Every other operation is
/// one script on keys of one slot, and takes one round trip. Deadlines are by the Redis clock. Keys hold a digest of the cookie's secret: nobody who reads the store can take over a session.
///
/// Redis replicates after it has answered. When a master dies and its replica takes over, what had been replicated is
/// there; what was acknowledged in the last moment before may be lost, and no more:
///
/// | lost | what the user sees |
/// |---|---|
/// | a change | the session as it was before |
/// | a sign-in, or a new secret | they sign in again |
/// | a sign-out or a revocation | nothing; but who has kept a copy of the cookie has the session again |
///
/// `min-replicas-to-write 1` and a short `min-replicas-max-lag` bound the moment, also that of a master which is cut off.
/// Until the replica has taken over, requests that need these sessions are answered by 503, those of other masters as ever.
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
    touches: Arc<Semaphore>,
}

impl RedisStore {
    /// Sessions behind this handle.
    pub fn new(redis: Redis) -> Self {
        Self { redis, touches: Arc::new(Semaphore::new(TOUCHES)) }
    }

    /// Opens a session in whatever state it is.
    async fn open(&self, key: &SessionKey, rules: &Rules, budget: Duration) -> Result<Loaded> {
        let call = LOAD.key(key.full()).arg(ms(rules.idle)).arg(ms(rules.grace));
        let (word, at, fields): (String, String, Vec<String>) = self.redis.within(budget).run(&call).await?;
        let at = || key.sibling(&at).ok_or_else(corrupt);
        match word.as_str() {
            "missing" => Ok(Loaded::Missing),
            "ended" => Ok(Loaded::Ended),
            "reused" => {
                let mut record = record(fields)?;
                let for_ms = record.0.remove("!s").and_then(|text| text.parse().ok()).ok_or_else(corrupt)?;
                Ok(Loaded::Reused { at: at()?, record, since: Duration::from_millis(for_ms) })
            }
            "live" => record(fields).map(Loaded::Live),
            "unread" | "read" => {
                Ok(Loaded::Forwarded { at: at()?, record: record(fields)?, unread: word == "unread" })
            }
            _ => Err(corrupt()),
        }
    }

    /// Moves the idle deadline and notes a first use, which nobody waits for: what fails is done at the next read.
    fn touch(&self, key: &SessionKey, rules: &Rules, budget: Duration) {
        let Ok(room) = Arc::clone(&self.touches).try_acquire_owned() else { return };
        let (store, key, rules) = (self.clone(), key.clone(), rules.clone());
        tokio::spawn(async move {
            let _room = room;
            if let Err(error) = store.open(&key, &rules, budget).await {
                tracing::debug!("a session's deadline was not moved: {error}");
            }
        });
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.redis
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
        let mut both = pipe();
        let full = key.full();
        both.cmd("HGETALL").arg(&full).cmd("PTTL").arg(&full);
        let (fields, left): (BTreeMap<String, String>, i64) =
            self.redis.within(budget).pipeline(&both).await?;
        let record = Record(fields);
        if record.0.is_empty() {
            return Ok(Loaded::Missing);
        }
        if !record.is_plain() {
            return self.open(key, rules, budget).await;
        }
        // By this machine's clock, which only decides whether to ask: the script goes by the server's.
        if record.has_predecessor() || record.may_gain(left, SystemClock.now_ms(), rules) {
            self.touch(key, rules, budget);
        }
        Ok(Loaded::Live(record))
    }

    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        budget: Duration,
    ) -> Result<Committed> {
        let call = COMMIT.key(key.full()).arg(ms(rules.idle));
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
        if let Some(Replaced { key, .. }) = &creation.replaces {
            if creation.index.is_none() {
                return Err(Error::new(ErrorKind::Misuse, "only a session with a user replaces another"));
            }
            call = match self.spans_prefixes() {
                true => call.key_of_any_slot(key.full()),
                false => call.key(key.full()),
            };
        }
        let replaced = creation.replaces.as_ref();
        let version = replaced.and_then(|one| one.version).map(|version| version.to_string());
        let call = call.arg(ms(creation.idle)).arg(ms(creation.absolute));
        let call = call.arg(if creation.again { "again" } else { "new" }).arg(version.unwrap_or_default());
        let call = call.arg(replaced.map_or("", |one| one.ending.word()));
        let call = call.arg(&creation.key.member).arg(&creation.key.prefix).arg(rules.max_sessions);
        let call = creation.fields.iter().fold(call, |call, (name, value)| call.arg(name).arg(value));
        let (word, now) = self.word(&call, budget).await?;
        match word.as_str() {
            "done" => Ok(Created::Done),
            "taken" => Ok(Created::Taken),
            "changed" => Ok(Created::Changed(now)),
            _ => Err(corrupt()),
        }
    }

    async fn end(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        ending: Ending,
        budget: Duration,
    ) -> Result<Removed> {
        let version = version.map(|version| version.to_string()).unwrap_or_default();
        let call = END.key(key.full()).arg(version).arg(&key.member).arg(ending.word());
        let (word, now) = self.word(&call, budget).await?;
        match word.as_str() {
            "done" => Ok(Removed::Done),
            "gone" => Ok(Removed::Gone),
            "changed" => Ok(Removed::Changed(now)),
            _ => Err(corrupt()),
        }
    }

    async fn rotate(
        &self,
        from: &SessionKey,
        to: &SessionKey,
        successor: Successor,
        budget: Duration,
    ) -> Result<Rotated> {
        let call = ROTATE.key(from.full()).key(to.full()).arg(match successor {
            Successor::Forwarded => "forwarded",
            Successor::Alone => "alone",
        });
        let call = call.arg(&from.member).arg(&to.member);
        let answer: Vec<String> = self.redis.within(budget).run(&call).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["done"] => Ok(Rotated::Done),
            ["gone"] => Ok(Rotated::Gone),
            ["forwarded", key] => from.sibling(key).map(Rotated::Forwarded).ok_or_else(corrupt),
            _ => Err(corrupt()),
        }
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>> {
        let call = LIST.key(index).arg(prefix).arg(rules.max_sessions);
        let answer: Vec<String> = self.redis.within(budget).run(&call).await?;
        let listed = |one: &[String; 4]| {
            let [member, created, device, lineage] = one.clone();
            Ok(Listed { member, created_ms: created.parse().map_err(|_| corrupt())?, device, lineage })
        };
        answer.as_chunks::<4>().0.iter().map(listed).collect()
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64> {
        let call = REVOKE.key(index).arg(prefix).arg(except.unwrap_or_default());
        self.redis.within(budget).run(&call).await
    }

    async fn peek(&self, key: &SessionKey, budget: Duration) -> Result<Option<SessionKey>> {
        let at: String = self.redis.within(budget).run(&PEEK.key(key.full())).await?;
        Ok(key.sibling(&at))
    }

    fn tidings(&self, namespace: &str) -> Box<dyn Tidings> {
        Box::new(Messages(self.redis.subscription(format!("{namespace}:endings"))))
    }

    fn spans_prefixes(&self) -> bool {
        !self.redis.is_cluster()
    }

    async fn meet(
        &self,
        namespace: &str,
        node: &str,
        says: &str,
        alive: Duration,
        budget: Duration,
    ) -> Result<Vec<String>> {
        let call = MEET.key(format!("{namespace}:nodes")).arg(node).arg(says).arg(ms(alive));
        self.redis.within(budget).run(&call).await
    }
}

impl Record {
    /// Whether nobody has read it by its own secret yet, so that an earlier one opens something still.
    fn has_predecessor(&self) -> bool {
        self.0.contains_key(GUEST) || self.0.contains_key(PREDECESSOR)
    }

    /// Whether an idle deadline that is so many milliseconds away can be moved by a tenth of the idle time.
    fn may_gain(&self, left_ms: i64, now_ms: u64, rules: &Rules) -> bool {
        let idle = i64::try_from(self.idle(rules).as_millis()).unwrap_or(i64::MAX);
        let most = i64::try_from(self.number(DEADLINE).saturating_sub(now_ms)).unwrap_or(i64::MAX);
        idle.min(most).saturating_sub(left_ms) >= idle / 10
    }
}

struct Messages(Subscription);

#[async_trait]
impl Tidings for Messages {
    async fn next(&mut self) -> Told {
        loop {
            let Heard::Message(text) = self.0.next().await else { return Told::Gap };
            match String::from_utf8(text).unwrap_or_default().split(' ').collect::<Vec<_>>().as_slice() {
                ["e", key] => return Told::Ended((*key).to_owned()),
                ["m", from, to] => return Told::Moved((*from).to_owned(), (*to).to_owned()),
                // Not ours, or of a newer version.
                _ => {}
            }
        }
    }
}

impl Ending {
    fn word(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Retire => "retire",
        }
    }
}

fn with_change<'a>(call: Call<'a>, change: &Change) -> Call<'a> {
    match change {
        Change::Set(field, value) => call.arg("s").arg(field).arg(value).arg(""),
        Change::Remove(field) => call.arg("r").arg(field).arg("").arg(""),
        Change::Add(field, by, floor) => call.arg("a").arg(field).arg(by).arg(i32::from(*floor)),
        Change::Append(field, entry, most) => call.arg("l").arg(field).arg(entry).arg(most),
        Change::Swap(field, old, new) => {
            let some =
                |value: &Option<String>| value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
            call.arg("c").arg(field).arg(some(old)).arg(some(new))
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
