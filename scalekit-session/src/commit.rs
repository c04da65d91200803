//! What happens after the handler: changes, a new session, a sign-in or a sign-out, each in one script.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::StatusCode;
use scalekit_core::{Error, ErrorKind, Hop, Result};

use crate::{
    address::session_key,
    cookie::{Carried, Ticket, random},
    identity::new_lineage,
    metrics::count,
    pending::{Pending, not_a_number},
    session::full,
    store::{Change, Committed, Created, Creation, Ending, Removed, SessionKey, Successor, record::LINEAGE},
    visit::{Fate, Known, Visit},
};

/// Runs of an `update` before the response becomes 409.
const MAX_RUNS: u32 = 32;
/// Runs that follow a conflict at once, on the value that came with it; the later ones pause and read again.
const QUICK_RUNS: u32 = 4;
/// Longest pause between two runs.
const MAX_PAUSE_MS: u64 = 16;
/// By how much the clocks of two processes may differ.
const SKEW_MS: u64 = 60_000;

/// Which responses let the changes of their requests be committed.
///
/// ```
/// use scalekit_core::KeyRing;
/// use scalekit_session::{CommitOn, MemoryStore, Sessions};
///
/// let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate()?).commit_on(CommitOn::Always).build()?;
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOn {
    /// Those below 500: a handler that fails has changed nothing.
    #[default]
    Below500,
    /// All of them.
    Always,
}

impl CommitOn {
    pub(crate) fn allows(self, status: StatusCode) -> bool {
        self == Self::Always || !status.is_server_error()
    }
}

/// What the client is handed with the response.
#[derive(Clone)]
pub(crate) enum Hand {
    Nothing,
    Give(Ticket),
    Take,
}

impl Visit {
    /// Does what the request has asked for, in a task of its own: a client that hangs up now must not tear a sign-in
    /// in two.
    ///
    /// # Errors
    /// The store's failure; [`ErrorKind::Conflict`] after the last re-run; a limit.
    pub(crate) async fn commit(self: &Arc<Self>) -> Result<Hand> {
        let visit = self.clone();
        let task = tokio::spawn(async move {
            visit.shared.signals.time(Hop::Cache, "session_commit", visit.carry_out()).await
        });
        task.await.unwrap_or_else(|error| {
            // The runtime that ends drops its tasks in any order.
            let how =
                if error.is_panic() { "the session's commit panicked" } else { "the process is ending" };
            Err(Error::new(ErrorKind::OutcomeUnknown, how).with_source(error))
        })
    }

    /// Commits what was asked for so far, and lets the session go on with what has become of it.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); nothing is forgotten then.
    pub(crate) async fn commit_now(self: &Arc<Self>) -> Result<()> {
        let hand = self.commit().await?;
        let mut state = self.lock();
        state.known = Known::Not;
        state.fate = match state.fate {
            Fate::SignOut | Fate::Revoked => Fate::Revoked,
            Fate::Keep | Fate::SignIn(_) | Fate::Renew => Fate::Keep,
        };
        if let Hand::Give(ticket) = &hand {
            state.carried = Carried::Ticket(ticket.clone());
        }
        if !matches!(hand, Hand::Nothing) {
            state.hand = hand;
        }
        Ok(())
    }

    async fn carry_out(&self) -> Result<Hand> {
        let (fate, pending, ticket) = {
            let mut state = self.lock();
            let ticket = state.ticket(&self.shared).cloned();
            // What is asked for from here on is for the next commit.
            (state.fate.clone(), std::mem::take(&mut state.pending), ticket)
        };
        let done = self.carry_out_all(fate, &pending, ticket).await;
        if done.is_err() {
            let mut state = self.lock();
            let newer = std::mem::take(&mut state.pending);
            state.pending = pending.then(newer);
        }
        done
    }

    async fn carry_out_all(&self, fate: Fate, pending: &Pending, ticket: Option<Ticket>) -> Result<Hand> {
        match (fate, ticket) {
            (Fate::Revoked, _) => Ok(Hand::Take),
            (Fate::SignOut, ticket) => self.sign_out_now(ticket).await,
            (Fate::SignIn(sign_in), _) => self.hand_over(&sign_in, pending).await,
            (Fate::Keep | Fate::Renew, None) => self.begin(pending).await,
            (Fate::Renew, Some(ticket)) => self.renew_now(&ticket, pending).await,
            (Fate::Keep, Some(ticket)) => {
                // Once the head has been sent, nobody would get a new session's cookie.
                let (known, can_begin) = {
                    let state = self.lock();
                    (state.known.clone(), !state.answered)
                };
                let missing = match known {
                    Known::Ended => Some(Committed::Ended),
                    Known::Missing => Some(Committed::Missing),
                    Known::Not | Known::Found(_) => {
                        self.change(pending, &session_key(&self.shared.namespace, &ticket)?).await?
                    }
                };
                match missing {
                    None => Ok(Hand::Nothing),
                    Some(Committed::Missing) if can_begin && self.may_follow(&ticket) => {
                        self.begin(pending).await
                    }
                    Some(_) => {
                        count(&self.shared.counters.gone);
                        Ok(Hand::Nothing)
                    }
                }
            }
        }
    }

    /// Commits changes of a session that exists; tells if it does not.
    async fn change(&self, pending: &Pending, key: &SessionKey) -> Result<Option<Committed>> {
        let shared = &self.shared;
        let mut base = match pending.has_updates() {
            true => self.load().await?.unwrap_or_default(),
            false => Arc::default(),
        };
        for run in 0..MAX_RUNS {
            let changes = pending.over(&base)?;
            let committed = {
                let meter = self.meter()?;
                shared.store.commit(key, &changes, None, &shared.rules, meter.left).await
            };
            match self.watch(committed)? {
                Committed::Done | Committed::Before => {
                    count(&shared.counters.commits);
                    return Ok(None);
                }
                none @ (Committed::Missing | Committed::Ended) => return Ok(Some(none)),
                Committed::Conflict(now) => {
                    count(&shared.counters.conflicts);
                    base = Arc::new(now);
                }
                Committed::Full => return Err(full()),
                Committed::NotANumber => return Err(not_a_number()),
            }
            if let Some(late) = run.checked_sub(QUICK_RUNS) {
                // A value that is as old as the pause would only meet the next conflict.
                tokio::time::sleep(pause(late)?).await;
                self.lock().known = Known::Not;
                base = self.load().await?.unwrap_or_default();
            }
        }
        Err(Error::new(ErrorKind::Conflict, "the session's field was overtaken again and again"))
    }

    /// Removes a field that the session holds, if nobody else does so first; what it held. What cannot be read stays.
    pub(crate) async fn take<T>(
        &self,
        field: &str,
        decode: impl Fn(&str) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        if self.starts_empty() {
            return Ok(None);
        }
        let mut record = self.load().await?;
        let Some(key) = self.key()? else { return Ok(None) };
        for _ in 0..MAX_RUNS {
            let Some(held) = record.as_ref().and_then(|record| record.0.get(field)).cloned() else { break };
            let decoded = decode(&held)?;
            let swap = Change::Swap(field.to_owned(), Some(held), None);
            let committed = {
                let meter = self.meter()?;
                self.shared.store.commit(&key, &[swap], None, &self.shared.rules, meter.left).await
            };
            match self.watch(committed)? {
                Committed::Done => {
                    count(&self.shared.counters.commits);
                    self.lock().forget(field);
                    return Ok(decoded);
                }
                Committed::Conflict(now) => record = Some(Arc::new(now)),
                _ => break,
            }
        }
        self.lock().forget(field);
        Ok(None)
    }

    /// Creates a session for a guest, if there is anything to keep.
    async fn begin(&self, pending: &Pending) -> Result<Hand> {
        let mut fields = pending.onto(BTreeMap::new())?;
        if fields.is_empty() {
            return Ok(Hand::Nothing);
        }
        fields.insert(LINEAGE.to_owned(), new_lineage()?);
        let ticket = Ticket::issue(random()?, false, self.shared.clock.now_ms())?;
        let creation = Creation {
            key: session_key(&self.shared.namespace, &ticket)?,
            fields,
            idle: self.shared.rules.idle,
            absolute: self.shared.rules.absolute,
            index: None,
            replaces: None,
            again: false,
        };
        match self.create(&creation).await? {
            Created::Done => Ok(Hand::Give(ticket)),
            Created::Full => Err(full()),
            Created::Taken | Created::Changed(_) => Err(taken()),
        }
    }

    /// Commits the changes, then gives the session a new secret, whose former one is dead at once.
    async fn renew_now(&self, ticket: &Ticket, pending: &Pending) -> Result<Hand> {
        let key = session_key(&self.shared.namespace, ticket)?;
        if !pending.is_empty() && self.change(pending, &key).await?.is_some() {
            count(&self.shared.counters.gone);
            return Ok(Hand::Nothing);
        }
        let next = Ticket::issue(ticket.tag, ticket.of_user, self.shared.clock.now_ms())?;
        match self.rotate_to(ticket, &next, Successor::Alone).await? {
            crate::store::Rotated::Done => Ok(Hand::Give(next)),
            _ => {
                count(&self.shared.counters.gone);
                Ok(Hand::Nothing)
            }
        }
    }

    /// Signs out.
    async fn sign_out_now(&self, ticket: Option<Ticket>) -> Result<Hand> {
        if let Some(ticket) = ticket {
            let key = session_key(&self.shared.namespace, &ticket)?;
            let ending = if ticket.of_user { Ending::Remove } else { Ending::Mark };
            count(match self.end_session(&key, None, ending).await? {
                Removed::Done => &self.shared.counters.commits,
                Removed::Gone | Removed::Changed(_) => &self.shared.counters.gone,
            });
        }
        Ok(if self.lock().had_cookie(&self.shared) { Hand::Take } else { Hand::Nothing })
    }

    pub(crate) async fn create(&self, creation: &Creation) -> Result<Created> {
        let meter = self.meter()?;
        let created = self.shared.store.create(creation, &self.shared.rules, meter.left).await;
        let created = self.watch(created)?;
        if created == Created::Done {
            count(&self.shared.counters.commits);
        }
        Ok(created)
    }

    pub(crate) async fn end_session(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        ending: Ending,
    ) -> Result<Removed> {
        let meter = self.meter()?;
        self.watch(self.shared.store.end(key, version, ending, meter.left).await)
    }

    /// Whether a new session may follow the one of this ticket, which is not there.
    ///
    /// A late response must not replace the cookie that a sign-in, or a sign-out, has set meanwhile. A guest's
    /// session that was ended has left its mark, so without one it has expired. A user's leaves none: there, only
    /// age tells; and a user signs in again anyway.
    fn may_follow(&self, ticket: &Ticket) -> bool {
        if !ticket.of_user {
            return true;
        }
        let absolute = u64::try_from(self.shared.rules.absolute.as_millis()).unwrap_or(u64::MAX);
        let over = (u64::from(ticket.issued) * 1_000).saturating_add(absolute).saturating_add(SKEW_MS);
        self.shared.clock.now_ms() > over
    }
}

/// A random pause that grows, so that those who met do not meet again.
fn pause(run: u32) -> Result<Duration> {
    let most = (1_u64 << run.min(4)).min(MAX_PAUSE_MS) * 1_000;
    let [a, b] = random()?;
    Ok(Duration::from_micros(u64::from(u16::from_be_bytes([a, b])) * most / 65_536))
}

pub(crate) fn taken() -> Error {
    Error::new(ErrorKind::Internal, "a random session key was taken")
}
