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

use self::state::{Place, State, adds_up, marked, ms};
use super::{
    Change, Committed, Created, Creation, Ending, Listed, Loaded, Record, Removed, Replaced, Rotated, Rules,
    SessionKey, Store, Successor, Tidings, Told,
    record::{
        CREATED, DEADLINE, DEVICE, FORWARD, GUEST, INDEX, OPERATIONS, PREDECESSOR, RETIRED, Size, UNTIL,
        VERSION,
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
        let (place, forwarded) = match state.follow(key.full(), now, false) {
            Place::At(place) => (place.clone(), place != key.full()),
            Place::Past(place) => {
                return Ok(key.sibling(&place).map_or(Loaded::Missing, Loaded::Reused));
            }
        };
        let Some(entry) = state.there(&place, now) else { return Ok(Loaded::Missing) };
        if !entry.record.0.contains_key(DEADLINE)
            || entry.record.0.contains_key(RETIRED) && now > entry.record.number(RETIRED)
        {
            return Ok(Loaded::Ended);
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
        if let Some(expires) = state.there(&place, now).and_then(|entry| entry.touch(rules, now))
            && forwarded
            && let Some(former) =
                state.there(&key.full(), now).filter(|former| !former.record.0.contains_key(UNTIL))
        {
            former.expires_ms = expires;
        }
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
        if state.there(&key.full(), now).is_none() {
            return Ok(Committed::Missing);
        }
        let Place::At(place) = state.follow(key.full(), now, operation.is_some()) else {
            return Ok(Committed::Ended);
        };
        let Some(entry) = state.there(&place, now).filter(|entry| entry.may_change()) else {
            return Ok(Committed::Ended);
        };
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
        if let Some(Replaced { key: old, version, ending }) = &creation.replaces {
            let old = state.follow(old.full(), now, true).into_key();
            match state.live(&old, now) {
                Some(entry) if version.is_some_and(|version| entry.record.version() != version) => {
                    return Ok(Created::Changed(entry.record.clone()));
                }
                Some(_) => state.end(&old, *ending, now),
                None => {}
            }
        }
        let deadline = now + ms(creation.absolute);
        let mut fields = creation.fields.clone();
        fields.insert(VERSION.to_owned(), "1".to_owned());
        fields.insert(CREATED.to_owned(), now.to_string());
        fields.insert(DEADLINE.to_owned(), deadline.to_string());
        if let Some(index) = &creation.index {
            fields.insert(INDEX.to_owned(), index.clone());
            for oldest in state.enter(index, deadline, &creation.key.member, rules.max_sessions, now) {
                state.end(&[creation.key.prefix.as_str(), &oldest].concat(), Ending::Remove, now);
            }
        }
        let expires_ms = (now + ms(creation.idle)).min(deadline);
        state.put(key, Record(fields), expires_ms);
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
        let place = state.follow(key.full(), now, true).into_key();
        match state.live(&place, now) {
            None => return Ok(Removed::Gone),
            Some(entry) if version.is_some_and(|version| version != entry.record.version()) => {
                return Ok(Removed::Changed(entry.record.clone()));
            }
            Some(_) => {}
        }
        state.end(&place, ending, now);
        Ok(Removed::Done)
    }

    async fn rotate(
        &self,
        from: &SessionKey,
        to: &SessionKey,
        successor: Successor,
        _: Duration,
    ) -> Result<Rotated> {
        let now = self.clock.now_ms();
        let (old, new) = (from.full(), to.full());
        let mut state = self.lock();
        let Some(entry) = state.there(&old, now) else { return Ok(Rotated::Gone) };
        if let Some(at) = entry.record.0.get(FORWARD) {
            return Ok(from.sibling(at).map_or(Rotated::Gone, Rotated::Forwarded));
        }
        if !entry.may_change() {
            return Ok(Rotated::Gone);
        }
        let (mut record, expires_ms) = (entry.record.clone(), entry.expires_ms);
        state.take_away(&old);
        state.tell(Told::Moved(old.clone(), new.clone()));
        if let Some(index) = record.0.get(INDEX).cloned() {
            let _ = state.enter(&index, record.number(DEADLINE), &to.member, usize::MAX, now);
        }
        if successor == Successor::Forwarded {
            record.0.insert(PREDECESSOR.to_owned(), old.clone());
            state.put(old, Record([(FORWARD.to_owned(), new.clone())].into()), expires_ms);
        }
        state.put(new, record, expires_ms);
        Ok(Rotated::Done)
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, _: Duration) -> Result<Vec<Listed>> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let mut listed = Vec::new();
        for (until, member) in state.members(index).into_iter().rev().take(rules.max_sessions) {
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
        let mut ended = 0;
        for (until, member) in state.members(index) {
            if Some(member.as_str()) != except {
                let key = [prefix, &member].concat();
                ended += u64::from(state.live(&key, now).is_some());
                state.end(&key, Ending::Remove, now);
                state.forget(index, &(until, member));
            }
        }
        Ok(ended)
    }

    async fn peek(&self, key: &SessionKey, _: Duration) -> Result<Option<SessionKey>> {
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let place = state.follow(key.full(), now, true).into_key();
        Ok(state.live(&place, now).and_then(|_| key.sibling(&place)))
    }

    fn tidings(&self, namespace: &str) -> Box<dyn Tidings> {
        let of = format!("{namespace}:{{");
        Box::new(Broadcast { of, receiver: self.lock().told.subscribe(), began: false })
    }

    fn spans_prefixes(&self) -> bool {
        true
    }
}
