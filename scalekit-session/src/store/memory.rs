//! Sessions in this process's memory: for tests, and for a service of one process.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use scalekit_core::{Clock, OperationId, Result, SystemClock};

use super::{
    CREATED, Change, Committed, Created, Creation, DEADLINE, DEVICE, ENDED, INDEX, Listed, Loaded, MARKER,
    OPERATIONS, Record, Removed, Rules, SessionKey, Size, Store, VERSION,
};

/// Operations that a session remembers.
const MARKS: usize = 16;
/// Characters of an operation's id.
const MARK: usize = 32;
/// Above it, Lua does not count exactly.
const MAX_NUMBER: u64 = 1_000_000_000_000_000;
/// Expired sessions are swept when this many have been created since.
const SWEEP_EVERY: usize = 1_024;

/// Sessions in memory; clones share them. They end with the process.
///
/// Keeps the contract of the Redis store, with the clock of the machine.
///
/// ```
/// use scalekit_core::KeyRing;
/// use scalekit_session::{MemoryStore, Sessions};
///
/// let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate()?).build()?;
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, Entry>,
    indexes: HashMap<String, BTreeSet<(u64, String)>>,
    created: usize,
}

struct Entry {
    record: Record,
    expires_ms: u64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// No sessions yet.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    /// No sessions yet; deadlines are by this clock.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), clock }
    }

    /// How many sessions are alive.
    pub fn len(&self) -> usize {
        let now = self.clock.now_ms();
        self.lock().sessions.values().filter(|entry| entry.expires_ms > now && !entry.is_mark()).count()
    }

    /// Whether no session is alive.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("sessions", &self.lock().sessions.len()).finish()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, key: &SessionKey, rules: &Rules, _: Duration) -> Result<Loaded> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let Some(entry) = state.there(&key.full(), now) else { return Ok(Loaded::Missing) };
        if entry.is_mark() {
            return Ok(Loaded::Ended);
        }
        entry.touch(rules, now);
        Ok(Loaded::Live(entry.record.clone()))
    }

    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        _: Duration,
    ) -> Result<Committed> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let Some(entry) = state.there(&key.full(), now) else { return Ok(Committed::Missing) };
        if entry.is_mark() {
            return Ok(Committed::Ended);
        }
        let old = &entry.record;
        let mut new = old.clone();
        if let Some(operation) = operation {
            match marked(old.0.get(OPERATIONS).map(String::as_str), operation) {
                Some(marks) => new.0.insert(OPERATIONS.to_owned(), marks),
                None => return Ok(Committed::Before),
            };
        }
        for change in changes {
            match change {
                Change::Swap(field, expected, _) if old.0.get(field) != expected.as_ref() => {
                    return Ok(Committed::Conflict(old.clone()));
                }
                Change::Add(field, by, _) if !adds_up(new.0.get(field), *by) => {
                    return Ok(Committed::NotANumber);
                }
                _ => make(&mut new.0, change),
            }
        }
        // What a transaction has committed is never refused for its size: nobody could make it good.
        if operation.is_none() && !Size::of(&new.0).fits(Some(Size::of(&old.0)), rules) {
            return Ok(Committed::Full);
        }
        new.0.insert(VERSION.to_owned(), (old.version() + 1).to_string());
        entry.record = new;
        entry.touch(rules, now);
        Ok(Committed::Done)
    }

    async fn create(&self, creation: &Creation, rules: &Rules, _: Duration) -> Result<Created> {
        if !creation.fits(rules) {
            return Ok(Created::Full);
        }
        let now = self.clock.now_ms();
        let mut state = self.lock();
        state.sweep(now);
        let key = creation.key.full();
        if !creation.again && state.there(&key, now).is_some() {
            return Ok(Created::Taken);
        }
        if let Some((old, version)) = &creation.replaces {
            match state.live(&old.full(), now) {
                Some(entry) if entry.record.version() != *version => {
                    return Ok(Created::Changed(entry.record.clone()));
                }
                _ => state.end(old),
            };
        }
        let deadline = now + ms(rules.absolute);
        let mut fields = creation.fields.clone();
        fields.insert(VERSION.to_owned(), "1".to_owned());
        fields.insert(CREATED.to_owned(), now.to_string());
        fields.insert(DEADLINE.to_owned(), deadline.to_string());
        if let Some(index) = &creation.index {
            fields.insert(INDEX.to_owned(), index.clone());
            let members = state.indexes.entry(index.clone()).or_default();
            members.retain(|(until, member)| *until >= now && *member != creation.key.member);
            members.insert((deadline, creation.key.member.clone()));
            let over = members.len().saturating_sub(rules.max_sessions);
            let oldest: Vec<String> = members.iter().take(over).map(|(_, member)| member.clone()).collect();
            for member in oldest.into_iter().filter(|member| *member != creation.key.member) {
                state.end(&SessionKey { prefix: creation.key.prefix.clone(), member });
            }
        }
        let expires_ms = (now + ms(rules.idle)).min(deadline);
        state.sessions.insert(key, Entry { record: Record(fields), expires_ms });
        Ok(Created::Done)
    }

    async fn remove(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        mark: bool,
        _: Duration,
    ) -> Result<Removed> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        match state.live(&key.full(), now) {
            None => return Ok(Removed::Gone),
            Some(entry) if version.is_some_and(|version| version != entry.record.version()) => {
                return Ok(Removed::Changed(entry.record.clone()));
            }
            Some(_) => {}
        }
        state.end(key);
        if mark {
            let record = Record([(ENDED.to_owned(), "1".to_owned())].into());
            state.sessions.insert(key.full(), Entry { record, expires_ms: now + ms(MARKER) });
        }
        Ok(Removed::Done)
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, _: Duration) -> Result<Vec<Listed>> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let members = state.indexes.get(index).cloned().unwrap_or_default();
        let mut listed = Vec::new();
        for (until, member) in members.into_iter().rev().take(rules.max_sessions) {
            match state.live(&[prefix, &member].concat(), now).map(|entry| entry.record.clone()) {
                Some(record) => {
                    let device = record.0.get(DEVICE).cloned().unwrap_or_default();
                    listed.push(Listed { member, created_ms: record.created_ms(), device });
                }
                None => state.forget(index, &(until, member)),
            }
        }
        Ok(listed)
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, _: Duration) -> Result<u64> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let members = state.indexes.get(index).cloned().unwrap_or_default();
        let mut ended = 0;
        for (until, member) in members.into_iter().filter(|(_, member)| Some(member.as_str()) != except) {
            let key = SessionKey { prefix: prefix.to_owned(), member };
            ended += u64::from(state.live(&key.full(), now).is_some());
            state.end(&key);
            state.forget(index, &(until, key.member));
        }
        Ok(ended)
    }
}

impl State {
    /// What is under this key and not past its deadline.
    fn there(&mut self, key: &str, now: u64) -> Option<&mut Entry> {
        self.sessions.get_mut(key).filter(|entry| entry.expires_ms > now)
    }

    /// The session of this key.
    fn live(&mut self, key: &str, now: u64) -> Option<&mut Entry> {
        self.there(key, now).filter(|entry| !entry.is_mark())
    }

    fn end(&mut self, key: &SessionKey) {
        let Some(entry) = self.sessions.remove(&key.full()) else { return };
        let Some(index) = entry.record.0.get(INDEX) else { return };
        let deadline = entry.record.number(DEADLINE);
        self.forget(index, &(deadline, key.member.clone()));
    }

    fn forget(&mut self, index: &str, member: &(u64, String)) {
        if let Some(members) = self.indexes.get_mut(index) {
            members.remove(member);
            if members.is_empty() {
                self.indexes.remove(index);
            }
        }
    }

    /// What Redis does by itself.
    fn sweep(&mut self, now: u64) {
        self.created += 1;
        if self.created >= SWEEP_EVERY {
            self.created = 0;
            self.sessions.retain(|_, entry| entry.expires_ms > now);
            self.indexes.retain(|_, members| members.last().is_some_and(|(until, _)| *until >= now));
        }
    }
}

impl Entry {
    fn is_mark(&self) -> bool {
        self.record.0.contains_key(ENDED)
    }

    fn touch(&mut self, rules: &Rules, now: u64) {
        let wanted = (now + ms(rules.idle)).min(self.record.number(DEADLINE));
        if wanted.saturating_sub(self.expires_ms) >= ms(rules.touch_step()) {
            self.expires_ms = wanted;
        }
    }
}

/// The remembered operations with this one; `None` if it is one of them, or older than all.
fn marked(known: Option<&str>, operation: OperationId) -> Option<String> {
    let (zero, id) = ("0".repeat(MARK), operation.to_string());
    let (low, ids) = known.unwrap_or(&zero).split_at_checked(MARK)?;
    let mut ids: Vec<&str> =
        ids.as_bytes().chunks(MARK).filter_map(|id| std::str::from_utf8(id).ok()).collect();
    if *id <= *low || ids.contains(&id.as_str()) {
        return None;
    }
    ids.push(&id);
    ids.sort_unstable();
    let low = if ids.len() > MARKS { ids.remove(0) } else { low };
    Some([&[low], ids.as_slice()].concat().concat())
}

pub(crate) fn make(fields: &mut BTreeMap<String, String>, change: &Change) {
    match change {
        Change::Set(field, value) | Change::Swap(field, _, value) => {
            fields.insert(field.clone(), value.clone());
        }
        Change::Remove(field) => {
            fields.remove(field);
        }
        Change::Add(field, by, floor) => {
            let value = fields.get(field).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
            let sum = value.saturating_add(*by);
            if *floor && sum <= 0 {
                fields.remove(field);
            } else {
                fields.insert(field.clone(), sum.to_string());
            }
        }
    }
}

/// Whether the field holds a number, and it, the step and their sum stay within what the Redis script can count.
fn adds_up(held: Option<&String>, by: i64) -> bool {
    let counts = |number: &i64| number.unsigned_abs() <= MAX_NUMBER;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |text: &&String| text.len() <= 17 && digits(text.strip_prefix('-').unwrap_or(text));
    let held = held.map_or(Some(0), |text| Some(text).filter(plain)?.parse().ok());
    held.filter(counts).is_some_and(|held| counts(&by) && counts(&(held + by)))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
