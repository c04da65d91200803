//! One request's session: what is known of it, what was asked of it, and the time it has left.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use scalekit_core::{Clock, Error, ErrorKind, Hop, KeyRing, Principal, Result, Signals};
use tokio::time::Instant;

use crate::{
    Cookie, Store,
    address::session_key,
    cookie::{Carried, Ticket},
    leftover::Leftovers,
    metrics::{Counters, count},
    pending::Pending,
    store::{Loaded, Record, Rules, SessionKey},
};

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ring: KeyRing,
    pub(crate) namespace: String,
    pub(crate) cookie: Cookie,
    pub(crate) rules: Rules,
    pub(crate) request_budget: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Counters,
    pub(crate) signals: Signals,
    pub(crate) leftovers: Leftovers,
}

pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    state: Mutex<State>,
    /// Parallel reads of one request share one load.
    loading: tokio::sync::Mutex<()>,
}

pub(crate) struct State {
    carried: Carried,
    pub(crate) known: Known,
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
    SignIn(Box<SignIn>),
    SignOut,
    /// It has been removed already.
    Revoked,
}

#[derive(Clone)]
pub(crate) struct SignIn {
    pub(crate) user: Principal,
    pub(crate) device: String,
    pub(crate) lineage: String,
    /// The session before belongs to somebody else: nothing of it is kept.
    pub(crate) fresh: bool,
}

impl Visit {
    pub(crate) fn new(shared: Arc<Shared>, carried: Carried) -> Self {
        let state = State {
            carried,
            known: Known::Not,
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

    /// Whether the session was read, or is to be changed.
    pub(crate) fn was_used(&self) -> bool {
        let state = self.lock();
        !matches!(state.known, Known::Not) || state.has_work()
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
            self.lock().known = Known::Missing;
            return Ok(None);
        };
        let meter = self.meter()?;
        count(&self.shared.counters.loads);
        let Shared { store, rules, signals, .. } = &*self.shared;
        let load = store.load(&key, rules, meter.left);
        let loaded = signals.time(Hop::Cache, "session_load", load).await;
        let loaded = self.watch(loaded).map_err(without_effect)?;
        let known = match loaded {
            Loaded::Live(record) => Known::Found(Arc::new(record)),
            Loaded::Ended => Known::Ended,
            Loaded::Missing => Known::Missing,
        };
        self.lock().known = known;
        Ok(self.known().flatten())
    }

    /// What reads of the handler go over: empty after a sign-out, and for a user who takes over a session.
    pub(crate) async fn base(&self) -> Result<Arc<Record>> {
        let empty = match &self.lock().fate {
            Fate::SignOut | Fate::Revoked => true,
            Fate::SignIn(sign_in) => sign_in.fresh,
            Fate::Keep => false,
        };
        if empty { Ok(Arc::default()) } else { Ok(self.load().await?.unwrap_or_default()) }
    }

    /// The time that the request may still spend on the store; counted until the meter is dropped.
    pub(crate) fn meter(&self) -> Result<Meter<'_>> {
        let left = self.shared.request_budget.saturating_sub(self.lock().spent);
        if left.is_zero() {
            count(&self.shared.counters.unavailable);
            let error = Error::new(ErrorKind::Unavailable, "the request has used up its time for sessions");
            return Err(error.with_retry_after(Duration::from_secs(1)));
        }
        Ok(Meter { inner: self, since: Instant::now(), left })
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

impl Shared {
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
