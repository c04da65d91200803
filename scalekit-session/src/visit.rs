//! One request's session: what is known of it, what was asked of it, and the time it has left.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use scalekit_core::{Clock, Error, ErrorKind, Hop, KeyRing, Result, Signals};
use tokio::time::Instant;
use tracing::Instrument;

mod state;

pub(crate) use self::state::{Asked, Fate, Known, Merge, State};
use crate::{
    CommitOn, Cookie, OnReuse, Store,
    address::session_key,
    commit::Hand,
    cookie::{Carried, Ticket},
    leftover::Leftovers,
    metrics::{Counters, EachSecond, add, count},
    nodes::Nodes,
    pending::Pending,
    rotation::WhenReused,
    stale::{Copies, StaleSession},
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
    pub(crate) lines: EachSecond,
    pub(crate) reuses: EachSecond,
    pub(crate) when_reused: Option<WhenReused>,
    pub(crate) commit_on: CommitOn,
    pub(crate) rotate_every: Option<Duration>,
    pub(crate) on_reuse: OnReuse,
    pub(crate) signals: Signals,
    pub(crate) leftovers: Leftovers,
    pub(crate) watchers: Watchers,
    pub(crate) copies: Copies,
    pub(crate) nodes: Nodes,
}

/// Rotations since a ticket was issued that are followed.
const MAX_FOLLOWED: u32 = 16;

/// One at a time.
type Turn = tokio::sync::Mutex<()>;

pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    state: Mutex<State>,
    /// Parallel reads of one request share one load.
    loading: Turn,
    /// Its commits come one after the other, each in a task of its own.
    pub(crate) committing: Turn,
    waits_since: OnceLock<Instant>,
}

impl Visit {
    pub(crate) fn new(shared: Arc<Shared>, carried: Carried) -> Self {
        let state = State { carried, ..State::default() };
        Self {
            shared,
            state: Mutex::new(state),
            loading: Turn::default(),
            committing: Turn::default(),
            waits_since: OnceLock::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session was read, or is to be changed. If not, the response is under way from now on: a stream may
    /// still use the session, but sends no cookie.
    pub(crate) fn is_to_finish(&self) -> bool {
        let mut state = self.lock();
        let is_used =
            state.read || state.under_way || state.has_work() || !matches!(state.hand, Hand::Nothing);
        state.answered = !is_used;
        is_used
    }

    /// The ticket that the request came with.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        self.lock().ticket(&self.shared).cloned()
    }

    /// The key of the request's session.
    pub(crate) fn key(&self) -> Result<Option<SessionKey>> {
        let mut state = self.lock();
        if state.at.is_none() {
            let ticket = state.ticket(&self.shared);
            state.at = ticket.map(|ticket| session_key(&self.shared.namespace, ticket)).transpose()?;
        }
        Ok(state.at.clone())
    }

    /// The session as it is stored, read once in a request; `None` if there is none.
    ///
    /// Waits for a commit of this request that is under way, so that nobody sees it half done.
    pub(crate) async fn load(&self) -> Result<Option<Arc<Record>>> {
        self.settled().await;
        self.fetch().await
    }

    /// Waits for a commit of this request that is under way.
    pub(crate) async fn settled(&self) {
        if self.lock().under_way {
            drop(self.committing.lock().await);
        }
    }

    /// As [`load`](Self::load), for the commit itself.
    pub(crate) async fn fetch(&self) -> Result<Option<Arc<Record>>> {
        if let Some(known) = self.known() {
            return Ok(known);
        }
        let _turn = self.loading.lock().await;
        loop {
            if let Some(known) = self.known() {
                return Ok(known);
            }
            // What the response says depends on the cookie, also where the store does not answer.
            self.lock().read = true;
            let Some(key) = self.key()? else {
                self.lock().known = Known::Missing;
                return Ok(None);
            };
            let generation = self.lock().generation;
            let known = self.look_up(&key).await?;
            let mut state = self.lock();
            if state.generation == generation {
                if let Known::Found(record) = &known {
                    state.admitted = true;
                    self.shared.copies.keep(&key, record, self.shared.soft_bytes);
                }
                state.known = known;
            }
        }
    }

    async fn look_up(&self, key: &SessionKey) -> Result<Known> {
        let mut loaded = self.read(key).await?;
        if let Some(at) = self.moved_on(key, &loaded).await? {
            loaded = self.read(&at).await?;
        }
        Ok(match loaded {
            Loaded::Live(record) => {
                self.shared.end_guest(&record);
                self.shared.weigh(&record);
                Known::Found(Arc::new(record))
            }
            Loaded::Forwarded { at, record, unread } => {
                self.came_by_former(&at, unread);
                Known::Found(Arc::new(record))
            }
            Loaded::Reused { at, record, .. } => {
                self.shared.reused(at, &record);
                Known::Ended
            }
            Loaded::Ended => Known::Ended,
            Loaded::Missing => Known::Missing,
        })
    }

    async fn read(&self, key: &SessionKey) -> Result<Loaded> {
        let meter = self.meter()?;
        count(&self.shared.counters.loads);
        self.shared.meet_others();
        let Shared { store, rules, signals, .. } = &*self.shared;
        let timing = signals.start(Hop::Cache, "session_load");
        let span = tracing::debug_span!("session_load", session = key.short());
        let loaded = store.load(key, rules, meter.left).instrument(span).await;
        timing.end(match &loaded {
            Ok(Loaded::Live(_) | Loaded::Forwarded { .. }) => "ok",
            Ok(Loaded::Missing | Loaded::Ended) => "none",
            Ok(Loaded::Reused { .. }) => "reused",
            Err(_) => "error",
        });
        self.counted(loaded).map_err(without_effect)
    }

    /// The key that another request has given the session since this one was let in, or since it came: this one goes on
    /// there, although its own secret opens the session no more.
    async fn moved_on(&self, key: &SessionKey, loaded: &Loaded) -> Result<Option<SessionKey>> {
        let came = self.waits_since.get().map(Instant::elapsed).unwrap_or_default();
        let now = match loaded {
            Loaded::Reused { at, since, .. } if came >= *since => Some(at.clone()),
            Loaded::Reused { .. } | Loaded::Ended if self.lock().admitted => {
                let meter = self.meter()?;
                let now = self.shared.store.peek(key, meter.left).await;
                self.counted(now).map_err(without_effect)?.filter(|now| now != key)
            }
            _ => None,
        };
        if now.is_some() {
            self.lock().at.clone_from(&now);
        }
        Ok(now)
    }

    /// As [`moved_on`](Self::moved_on), for a commit that was told that the session has ended.
    pub(crate) async fn key_to_go_on_with(&self, key: &SessionKey) -> Result<Option<SessionKey>> {
        if self.waits_since.get().is_none() && !self.lock().admitted {
            return Ok(None);
        }
        let loaded = self.read(key).await?;
        self.moved_on(key, &loaded).await
    }

    /// What this process has read of the session, if that is kept.
    pub(crate) fn copy(&self) -> Result<Option<StaleSession>> {
        let copy = self.key()?.and_then(|key| self.shared.copies.find(&key));
        if copy.is_some() {
            count(&self.shared.counters.stale);
        }
        Ok(copy)
    }

    /// The request waits for something, or its answer goes on after its head. Most never do; to look at the clock costs a
    /// tenth of what the layer does.
    pub(crate) fn waits(&self) {
        self.waits_since.get_or_init(Instant::now);
    }

    /// The request's ticket leads to the session, whose key is another one now. Unless that has been used, its ticket did
    /// perhaps not arrive, and is handed out once more, to a client that had the former in time.
    fn came_by_former(&self, at: &SessionKey, unread: bool) {
        let successor = self.ticket().and_then(|ticket| self.successor(ticket, at));
        let mut state = self.lock();
        state.former = true;
        state.lacking_since = (unread && successor.is_some()).then(Instant::now);
        state.successor = successor;
    }

    /// The ticket of this key, if rotations from the other one have led to it.
    fn successor(&self, mut ticket: Ticket, at: &SessionKey) -> Option<Ticket> {
        for _ in 0..MAX_FOLLOWED {
            let next = ticket.successors(&self.shared.ring, self.shared.clock.now_ms());
            let first = next.first().cloned()?;
            if let Some(found) = next.into_iter().find(|next| next.digest() == at.member) {
                return Some(found);
            }
            ticket = first;
        }
        None
    }

    /// What reads of the handler go over.
    pub(crate) async fn base(&self) -> Result<Arc<Record>> {
        self.settled().await;
        if self.lock().starts_empty() {
            return Ok(Arc::default());
        }
        Ok(self.load().await?.unwrap_or_default())
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
    pub(crate) fn counted<T>(&self, result: Result<T>) -> Result<T> {
        self.shared.counted(result)
    }

    fn known(&self) -> Option<Option<Arc<Record>>> {
        match &self.lock().known {
            Known::Not => None,
            Known::Missing | Known::Ended => Some(None),
            Known::Found(record) => Some(Some(record.clone())),
        }
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

impl Shared {
    fn weigh(&self, record: &Record) {
        let bytes = record.bytes();
        add(&self.counters.loaded_bytes, bytes as u64);
        if bytes > self.soft_bytes {
            count(&self.counters.large);
            if self.may_log() {
                tracing::warn!(
                    bytes,
                    "a session is large: what it holds travels with each read; keep a key in it instead"
                );
            }
        }
    }

    /// Whether what a client has caused may stand in the log.
    pub(crate) fn may_log(&self) -> bool {
        self.lines.is_due(self.clock.now_ms())
    }

    pub(crate) fn counted<T>(&self, result: Result<T>) -> Result<T> {
        let unanswered = result.as_ref().is_err_and(Error::is_transient);
        if unanswered {
            count(&self.counters.unavailable);
        }
        self.counters.answered(!unanswered);
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
