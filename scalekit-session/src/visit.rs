//! One request's session: what is known of it, what was asked of it, and the time it has left.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use scalekit_core::{Clock, Error, ErrorKind, Hop, KeyRing, Principal, Result, Signals};
use tokio::time::Instant;

use crate::{
    CommitOn, Cookie, OnReuse, Store,
    address::session_key,
    commit::Hand,
    content::Content,
    cookie::{Carried, Ticket},
    leftover::Leftovers,
    metrics::{Counters, count},
    pending::Pending,
    store::{Loaded, Record, Rules, SessionKey},
    watch::Watchers,
};

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ring: KeyRing,
    pub(crate) namespace: String,
    pub(crate) cookie: Cookie,
    pub(crate) rules: Rules,
    pub(crate) soft_bytes: usize,
    pub(crate) request_budget: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Counters,
    pub(crate) commit_on: CommitOn,
    pub(crate) rotate_every: Option<Duration>,
    pub(crate) on_reuse: OnReuse,
    pub(crate) signals: Signals,
    pub(crate) leftovers: Leftovers,
    pub(crate) watchers: Watchers,
}

/// Rotations since a ticket was issued that are followed.
const MAX_FOLLOWED: u32 = 16;

pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    state: Mutex<State>,
    /// Parallel reads of one request share one load.
    loading: tokio::sync::Mutex<()>,
}

pub(crate) struct State {
    pub(crate) carried: Carried,
    /// The session has another ticket than the request came with.
    pub(crate) former: bool,
    /// The client is to get it.
    reissue: bool,
    /// What a commit that was asked for by the handler left to hand out.
    pub(crate) hand: Hand,
    /// The response is under way: its cookies are decided.
    pub(crate) answered: bool,
    pub(crate) known: Known,
    /// Somebody has read the session, or has seen that there is none.
    pub(crate) read: bool,
    pub(crate) pending: Pending,
    pub(crate) fate: Fate,
    /// A transaction records the changes: the layer commits nothing.
    pub(crate) enlisted: bool,
    spent: Duration,
}

#[derive(Clone)]
pub(crate) enum Known {
    Not,
    /// There was none, or it expired.
    Missing,
    /// It was ended while this request was under way.
    Ended,
    Found(Arc<Record>),
}

/// What is to become of the session as a whole.
#[derive(Clone)]
pub(crate) enum Fate {
    Keep,
    SignIn(Box<Asked>),
    /// It goes on under a new secret.
    Renew,
    SignOut,
    /// It has been removed already.
    Revoked,
}

/// What a sign-in asks for.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) user: Principal,
    pub(crate) device: String,
    pub(crate) lineage: String,
    pub(crate) idle: Option<Duration>,
    pub(crate) absolute: Option<Duration>,
    pub(crate) merge: Option<Merge>,
    /// The session before belongs to somebody else: nothing of it is kept.
    pub(crate) fresh: bool,
}

/// Decides what is kept of the session before; runs again if that changes meanwhile.
pub(crate) type Merge = Arc<dyn Fn(&mut Content) -> Result<()> + Send + Sync>;

impl Visit {
    pub(crate) fn new(shared: Arc<Shared>, carried: Carried) -> Self {
        let state = State {
            carried,
            former: false,
            reissue: false,
            hand: Hand::Nothing,
            answered: false,
            known: Known::Not,
            read: false,
            pending: Pending::default(),
            fate: Fate::Keep,
            enlisted: false,
            spent: Duration::ZERO,
        };
        Self { shared, state: Mutex::new(state), loading: tokio::sync::Mutex::default() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session was read, or is to be changed. If not, the response is under way from now on: a stream may
    /// still use the session, but sends no cookie.
    pub(crate) fn is_to_finish(&self) -> bool {
        let mut state = self.lock();
        let is_used = state.read || state.has_work() || !matches!(state.hand, Hand::Nothing);
        state.answered = !is_used;
        is_used
    }

    /// The ticket that the client is to get because it came with a former one.
    pub(crate) fn reissued(&self) -> Option<Ticket> {
        let mut state = self.lock();
        state.reissue.then(|| state.ticket(&self.shared).cloned()).flatten()
    }

    /// The ticket that the request came with.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.lock().ticket(&self.shared).cloned()
    }

    /// The key of the session that the request came with.
    pub(crate) fn key(&self) -> Result<Option<SessionKey>> {
        self.ticket().map(|ticket| session_key(&self.shared.namespace, &ticket)).transpose()
    }

    /// The session as it is stored, read once in a request; `None` if there is none.
    pub(crate) async fn load(&self) -> Result<Option<Arc<Record>>> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let _turn = self.loading.lock().await;
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let Some(key) = self.key()? else {
            let mut state = self.lock();
            (state.known, state.read) = (Known::Missing, true);
            return Ok(None);
        };
        let meter = self.meter()?;
        count(&self.shared.counters.loads);
        let Shared { store, rules, signals, .. } = &*self.shared;
        let load = store.load(&key, rules, meter.left);
        let loaded = signals.time(Hop::Cache, "session_load", load).await;
        let loaded = self.watch(loaded).map_err(without_effect)?;
        let known = match loaded {
            Loaded::Live(record) => {
                self.shared.end_guest(&record);
                self.shared.weigh(&record);
                Known::Found(Arc::new(record))
            }
            Loaded::Forwarded { at, record, unread } => {
                // Once the new secret is in use, it is not given to whoever comes with the former.
                self.follow(&at, unread);
                Known::Found(Arc::new(record))
            }
            Loaded::Reused(at) => {
                self.shared.reused(at);
                Known::Ended
            }
            Loaded::Ended => Known::Ended,
            Loaded::Missing => Known::Missing,
        };
        let mut state = self.lock();
        (state.known, state.read) = (known, true);
        drop(state);
        Ok(self.known().flatten())
    }

    /// Takes the ticket of the key that the session has now, if it follows from the one that the request came with.
    /// Else the request goes on by its own, which leads there, too.
    pub(crate) fn follow(&self, at: &SessionKey, reissue: bool) {
        let Some(mut ticket) = self.ticket() else { return };
        for _ in 0..MAX_FOLLOWED {
            let next = ticket.successors(&self.shared.ring, self.shared.clock.now_ms());
            let Some(first) = next.first().cloned() else { return };
            if let Some(found) = next.into_iter().find(|next| next.digest() == at.member) {
                let mut state = self.lock();
                (state.carried, state.former, state.reissue) = (Carried::Ticket(found), true, reissue);
                return;
            }
            ticket = first;
        }
    }

    /// What reads of the handler go over.
    pub(crate) async fn base(&self) -> Result<Arc<Record>> {
        if self.starts_empty() { Ok(Arc::default()) } else { Ok(self.load().await?.unwrap_or_default()) }
    }

    /// After a sign-out, and for a user who takes over another's session, nothing of what is stored is theirs.
    pub(crate) fn starts_empty(&self) -> bool {
        match &self.lock().fate {
            Fate::SignOut | Fate::Revoked => true,
            Fate::SignIn(asked) => asked.fresh,
            Fate::Keep | Fate::Renew => false,
        }
    }

    /// The time that the request may still spend on the store; counted until the meter is dropped.
    pub(crate) fn meter(&self) -> Result<Meter<'_>> {
        let left = {
            let state = self.lock();
            // A stream that goes on after the answer has the same time for each commit.
            let spent = if state.answered { Duration::ZERO } else { state.spent };
            self.shared.request_budget.saturating_sub(spent)
        };
        if left.is_zero() {
            count(&self.shared.counters.unavailable);
            let error = Error::new(ErrorKind::Unavailable, "the request has used up its time for sessions");
            return Err(error.with_retry_after(Duration::from_secs(1)));
        }
        Ok(Meter { inner: self, since: Instant::now(), left })
    }

    /// What was asked so far. A copy: closures run outside the lock, since one may use the session, or panic.
    pub(crate) fn pending(&self) -> Pending {
        self.lock().pending.clone()
    }

    /// Counts the store's failures.
    pub(crate) fn watch<T>(&self, result: Result<T>) -> Result<T> {
        self.shared.watch(result)
    }

    fn known(&self) -> Option<Option<Arc<Record>>> {
        match &self.lock().known {
            Known::Not => None,
            Known::Missing | Known::Ended => Some(None),
            Known::Found(record) => Some(Some(record.clone())),
        }
    }
}

impl State {
    /// The ticket that the request came with: its cookies are looked at when it is first asked for.
    pub(crate) fn ticket(&mut self, shared: &Shared) -> Option<&Ticket> {
        self.carried.read(shared)
    }

    /// Whether the request came with a cookie of our name, whatever was in it.
    pub(crate) fn had_cookie(&mut self, shared: &Shared) -> bool {
        self.carried.read(shared);
        self.carried.had_cookie()
    }

    /// The field is not there any more.
    pub(crate) fn forget(&mut self, field: &str) {
        if let Known::Found(record) = &mut self.known {
            Arc::make_mut(record).0.remove(field);
        }
    }

    /// Whether there is anything to commit.
    pub(crate) fn has_work(&self) -> bool {
        !self.enlisted && (!matches!(self.fate, Fate::Keep) || !self.pending.is_empty())
    }
}

/// A read that was not answered has no outcome that anybody must learn.
fn without_effect(error: Error) -> Error {
    if error.kind() != ErrorKind::OutcomeUnknown {
        return error;
    }
    let message = "the session store did not answer in time";
    Error::new(ErrorKind::Unavailable, message).with_retry_after(Duration::from_secs(1)).with_source(error)
}

/// A large session is logged once in so many.
const LOG_EVERY: u64 = 1_000;

impl Shared {
    fn weigh(&self, record: &Record) {
        let bytes = record.bytes();
        if bytes > self.soft_bytes && count(&self.counters.large).is_multiple_of(LOG_EVERY) {
            tracing::warn!(
                bytes,
                "a session is large: what it holds travels with each read; keep a key in it instead"
            );
        }
    }

    pub(crate) fn watch<T>(&self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(Error::is_transient) {
            count(&self.counters.unavailable);
        }
        result
    }
}

pub(crate) struct Meter<'a> {
    inner: &'a Visit,
    since: Instant,
    pub(crate) left: Duration,
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        let spent = self.since.elapsed();
        self.inner.lock().spent += spent;
    }
}
