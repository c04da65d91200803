//! Sessions in this process's memory: for tests, and for a service of one process.

mod state;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use scalekit_core::{Clock, OperationId, Result, SystemClock};
use tokio::sync::broadcast;

use self::state::{Entry, Over, State, adds_up, marked, ms};
use super::{
    Change, Committed, Created, Creation, Ending, Listed, Loaded, Record, Removed, Replaced, Rotated, Rules,
    SessionKey, Store, Successor, Tidings, Told,
    record::{
        CREATED, DEADLINE, DEVICE, ENDED, FORWARD, GUEST, INDEX, LINEAGE, OPERATIONS, PREDECESSOR, RETIRED,
        Size, UNTIL, VERSION,
    },
};

pub(crate) use self::state::{appended, make};

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
        self.lock().alive(self.clock.now_ms())
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
        f.debug_struct("MemoryStore").field("sessions", &self.len()).finish()
    }
}

struct Broadcast {
    of: String,
    receiver: broadcast::Receiver<Told>,
    began: bool,
}

#[async_trait]
impl Tidings for Broadcast {
    async fn next(&mut self) -> Told {
        if !std::mem::replace(&mut self.began, true) {
            return Told::Gap;
        }
        loop {
            match self.receiver.recv().await {
                Ok(Told::Ended(key) | Told::Moved(key, _)) if !key.starts_with(&self.of) => {}
                Ok(told) => return told,
                Err(broadcast::error::RecvError::Lagged(_)) => return Told::Gap,
                // The store has gone, and its sessions with it.
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, key: &SessionKey, rules: &Rules, _: Duration) -> Result<Loaded> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let (place, over) = state.follow(key.full(), now);
        let forwarded = place != key.full();
        let Some(entry) = state.there(&place, now) else { return Ok(Loaded::Missing) };
        if over == Some(Over::Dead)
            || !entry.record.0.contains_key(DEADLINE)
            || entry.record.0.contains_key(RETIRED) && now > entry.record.number(RETIRED)
        {
            return Ok(Loaded::Ended);
        }
        if let Some(Over::Past(ms)) = over {
            let (record, since) = (entry.record.clone(), Duration::from_millis(ms));
            return Ok(key.sibling(&place).map_or(Loaded::Missing, |at| Loaded::Reused {
                at,
                record,
                since,
            }));
        }
        let record = entry.record.clone();
        let idle = ms(record.idle(rules));
        if !forwarded {
            entry.record.0.remove(GUEST);
            if let Some(before) = entry.record.0.remove(PREDECESSOR) {
                let until = now + ms(rules.grace);
                if let Some(before) =
                    state.there(&before, now).filter(|before| before.record.0.contains_key(FORWARD))
                {
                    before.record.0.insert(UNTIL.to_owned(), until.to_string());
                    before.expires_ms = until + idle;
                }
            }
        }
        state.touch(&place, &key.full(), rules, now);
        Ok(match key.sibling(&place).filter(|_| forwarded) {
            Some(at) => {
                let former = state.there(&key.full(), now);
                let unread = former.is_some_and(|former| !former.record.0.contains_key(UNTIL));
                Loaded::Forwarded { at, record, unread }
            }
            None => Loaded::Live(record),
        })
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
        let (place, over) = state.follow(key.full(), now);
        let Some(entry) = state.there(&place, now) else { return Ok(Committed::Missing) };
        // What a transaction has committed arrives however long ago the session was rotated.
        if over.is_some() && operation.is_none() || !entry.may_change() {
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
        state.touch(&place, &key.full(), rules, now);
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
        if let Some(Replaced { key: old, version, ending }) = &creation.replaces {
            let (old, _) = state.follow(old.full(), now);
            let held = state.live(&old, now).map(|entry| entry.record.clone());
            if version.is_some() && *version != held.as_ref().map(Record::version) {
                return Ok(Created::Changed(held.unwrap_or_default()));
            }
            state.end(&old, *ending, now);
        }
        let deadline = now + ms(creation.absolute);
        let mut fields = creation.fields.clone();
        fields.insert(VERSION.to_owned(), "1".to_owned());
        fields.insert(CREATED.to_owned(), now.to_string());
        fields.insert(DEADLINE.to_owned(), deadline.to_string());
        let SessionKey { prefix, member } = &creation.key;
        if let Some(index) = &creation.index {
            fields.insert(INDEX.to_owned(), index.clone());
        }
        state.put(key, Record(fields), (now + ms(creation.idle)).min(deadline));
        if let Some(index) = &creation.index {
            state.enter(index, now, member);
            let all = state.members(index, prefix, now);
            let over = all.len().saturating_sub(rules.max_sessions);
            for (_, oldest) in all.into_iter().take(over).filter(|(_, known)| known != member) {
                state.end(&[prefix.as_str(), &oldest].concat(), Ending::Mark, now);
            }
        }
        Ok(Created::Done)
    }

    async fn end(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        ending: Ending,
        _: Duration,
    ) -> Result<Removed> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let (place, _) = state.follow(key.full(), now);
        let changed = |entry: &&mut Entry| version.is_some_and(|version| version != entry.record.version());
        if let Some(entry) = state.live(&place, now).filter(changed) {
            return Ok(Removed::Changed(entry.record.clone()));
        }
        let retired = state.live(&place, now).is_some_and(|entry| entry.record.0.contains_key(RETIRED));
        let ended = state.end(&place, ending, now) && !(retired && ending == Ending::Mark);
        Ok(if ended { Removed::Done } else { Removed::Gone })
    }

    async fn rotate(
        &self,
        from: &SessionKey,
        to: &SessionKey,
        successor: Successor,
        _: Duration,
    ) -> Result<Rotated> {
        let now = self.clock.now_ms();
        let new = to.full();
        let mut state = self.lock();
        let (old, over) = state.follow(from.full(), now);
        if old != from.full() && successor == Successor::Forwarded {
            return Ok(from.sibling(&old).map_or(Rotated::Gone, Rotated::Forwarded));
        }
        let Some(entry) = state.there(&old, now).filter(|entry| over.is_none() && entry.may_change()) else {
            return Ok(Rotated::Gone);
        };
        let (mut record, expires_ms) = (entry.record.clone(), entry.expires_ms);
        state.take_away(&old);
        state.tell(Told::Moved(old.clone(), new.clone()));
        if let Some(index) = record.0.get(INDEX) {
            state.enter(index, record.created_ms(), &to.member);
        }
        // Also where the old key opens nothing from now on, what a transaction has committed finds the session by it.
        let mut former = Record([(FORWARD.to_owned(), new.clone())].into());
        match successor {
            Successor::Forwarded => record.0.insert(PREDECESSOR.to_owned(), old.clone()),
            Successor::Alone => former.0.insert(ENDED.to_owned(), "1".to_owned()),
        };
        state.put(old, former, expires_ms);
        state.put(new, record, expires_ms);
        Ok(Rotated::Done)
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, _: Duration) -> Result<Vec<Listed>> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let members = state.members(index, prefix, now);
        let newest = members.into_iter().rev().take(rules.max_sessions);
        let listed = newest.filter_map(|(created_ms, member)| {
            let record = &state.live(&[prefix, &member].concat(), now)?.record;
            let text = |name| record.0.get(name).cloned().unwrap_or_default();
            Some(Listed { member, created_ms, device: text(DEVICE), lineage: text(LINEAGE) })
        });
        Ok(listed.collect())
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, _: Duration) -> Result<u64> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let kept = except.map(|member| state.follow([prefix, member].concat(), now).0);
        let members = state.members(index, prefix, now).into_iter();
        let keys =
            members.map(|(_, member)| [prefix, &member].concat()).filter(|key| Some(key) != kept.as_ref());
        Ok(keys.map(|key| u64::from(state.end(&key, Ending::Mark, now))).sum())
    }

    async fn peek(&self, key: &SessionKey, _: Duration) -> Result<Option<SessionKey>> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let (place, _) = state.follow(key.full(), now);
        Ok(state.live(&place, now).filter(|entry| entry.may_change()).and_then(|_| key.sibling(&place)))
    }

    fn tidings(&self, namespace: &str) -> Box<dyn Tidings> {
        let of = format!("{namespace}:{{");
        Box::new(Broadcast { of, receiver: self.lock().told.subscribe(), began: false })
    }

    fn spans_prefixes(&self) -> bool {
        true
    }

    async fn meet(
        &self,
        namespace: &str,
        node: &str,
        says: &str,
        alive: Duration,
        _: Duration,
    ) -> Result<Vec<String>> {
        let now = self.clock.now_ms();
        Ok(self.lock().meet(namespace, node, says, now + ms(alive), now))
    }
}
