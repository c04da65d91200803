//! What happens after the handler: changes, a new session, a sign-in or a sign-out, each in one script.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use scalekit_core::{Error, ErrorKind, Result};

use crate::{
    address::{UserPlace, session_key},
    cookie::{Ticket, random},
    identity::new_lineage,
    metrics::count,
    pending::{Pending, not_a_number},
    session::full,
    store::{Committed, Created, Creation, DEVICE, LINEAGE, OPERATIONS, Record, Removed, SessionKey, USER},
    visit::{Fate, Known, SignIn, Visit},
};

/// Runs of an `update` before the response becomes 409.
const MAX_RUNS: u32 = 32;
/// Reads of a session that changes while it is being rotated.
const MAX_ROTATIONS: u32 = 4;
/// Runs that follow a conflict at once, on the value that came with it; the later ones pause and read again.
const QUICK_RUNS: u32 = 4;
/// Longest pause between two runs.
const MAX_PAUSE_MS: u64 = 16;
/// By how much the clocks of two processes may differ.
const SKEW_MS: u64 = 60_000;

/// What the client is handed with the response.
pub(crate) enum Hand {
    Nothing,
    Give(Ticket),
    Take,
}

impl Visit {
    /// Does what the request has asked for.
    ///
    /// # Errors
    /// The store's failure; [`ErrorKind::Conflict`] after the last re-run; a limit.
    pub(crate) async fn commit(&self) -> Result<Hand> {
        let (fate, pending, ticket) = {
            let mut state = self.lock();
            let ticket = state.ticket(&self.shared).cloned();
            (state.fate.clone(), state.pending.clone(), ticket)
        };
        match (fate, ticket) {
            (Fate::Revoked, _) => Ok(Hand::Take),
            (Fate::SignOut, ticket) => self.end(ticket).await,
            (Fate::SignIn(sign_in), ticket) => self.rotate(&sign_in, &pending, ticket).await,
            (Fate::Keep, None) => self.begin(&pending).await,
            (Fate::Keep, Some(ticket)) => {
                let known = self.lock().known.clone();
                let missing = match known {
                    Known::Ended => Some(Committed::Ended),
                    Known::Missing => Some(Committed::Missing),
                    Known::Not | Known::Found(_) => {
                        self.change(&pending, &session_key(&self.shared.namespace, &ticket)?).await?
                    }
                };
                match missing {
                    None => Ok(Hand::Nothing),
                    Some(Committed::Missing) if self.may_follow(&ticket) => self.begin(&pending).await,
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

    /// Signs in: the new session first, then the old one goes. Never neither.
    async fn rotate(&self, sign_in: &SignIn, pending: &Pending, old: Option<Ticket>) -> Result<Hand> {
        let shared = &self.shared;
        let place = UserPlace::current(&shared.namespace, &shared.ring, &sign_in.user)?;
        let ticket = Ticket::issue(place.tag, true, shared.clock.now_ms())?;
        let key = session_key(&shared.namespace, &ticket)?;
        let mut record = self.load().await?;
        let old = old.filter(|_| record.is_some());
        let old_key = old.as_ref().map(|old| session_key(&shared.namespace, old)).transpose()?;
        // In one slot and of the same user: one script creates and removes.
        let mark = old.as_ref().is_some_and(|old| !old.of_user);
        let one_script = old.as_ref().is_some_and(|old| old.tag == place.tag) && !mark && !sign_in.fresh;
        let mut again = false;
        for _ in 0..MAX_ROTATIONS {
            let kept = record.as_ref().filter(|_| !sign_in.fresh);
            let version = record.as_ref().map(|record| record.version()).unwrap_or_default();
            let creation = Creation {
                key: key.clone(),
                fields: signed_in(sign_in, pending, kept.map(Arc::as_ref))?,
                index: Some(place.index.clone()),
                replaces: old_key.clone().filter(|_| one_script).map(|key| (key, version)),
                again,
            };
            match self.create(&creation).await? {
                Created::Done => {}
                Created::Changed(now) => {
                    record = Some(Arc::new(now));
                    continue;
                }
                Created::Full => return Err(full()),
                Created::Taken => return Err(taken()),
            }
            let Some(old_key) = old_key.as_ref().filter(|_| !one_script) else {
                return Ok(Hand::Give(ticket));
            };
            let expected = (!sign_in.fresh).then_some(version);
            match self.remove(old_key, expected, mark).await {
                Ok(Removed::Changed(now)) => {
                    record = Some(Arc::new(now));
                    again = true;
                }
                Ok(Removed::Done | Removed::Gone) => return Ok(Hand::Give(ticket)),
                Err(_) => {
                    shared.remove_later(old_key.clone(), mark);
                    return Ok(Hand::Give(ticket));
                }
            }
        }
        if again {
            // The new session is there; the old one must not outlive it.
            let Some(old_key) = old_key else { return Ok(Hand::Give(ticket)) };
            if self.remove(&old_key, None, mark).await.is_err() {
                shared.remove_later(old_key, mark);
            }
            return Ok(Hand::Give(ticket));
        }
        Err(Error::new(ErrorKind::Conflict, "the session changed again and again during the sign-in"))
    }

    /// Signs out.
    async fn end(&self, ticket: Option<Ticket>) -> Result<Hand> {
        if let Some(ticket) = ticket {
            let key = session_key(&self.shared.namespace, &ticket)?;
            match self.remove(&key, None, !ticket.of_user).await? {
                Removed::Done => count(&self.shared.counters.commits),
                Removed::Gone | Removed::Changed(_) => count(&self.shared.counters.gone),
            }
        }
        Ok(if self.lock().had_cookie(&self.shared) { Hand::Take } else { Hand::Nothing })
    }

    async fn create(&self, creation: &Creation) -> Result<Created> {
        let meter = self.meter()?;
        let created = self.shared.store.create(creation, &self.shared.rules, meter.left).await;
        let created = self.watch(created)?;
        if created == Created::Done {
            count(&self.shared.counters.commits);
        }
        Ok(created)
    }

    async fn remove(&self, key: &SessionKey, version: Option<u64>, mark: bool) -> Result<Removed> {
        let meter = self.meter()?;
        self.watch(self.shared.store.remove(key, version, mark, meter.left).await)
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

/// What the new session holds: what is kept of the old one, the request's changes, and who it belongs to.
fn signed_in(sign_in: &SignIn, pending: &Pending, kept: Option<&Record>) -> Result<BTreeMap<String, String>> {
    let keep = |name: &str| !name.starts_with('!') || name == OPERATIONS;
    let fields = kept.into_iter().flat_map(|record| &record.0).filter(|(name, _)| keep(name));
    let mut fields = pending.onto(fields.map(|(name, value)| (name.clone(), value.clone())).collect())?;
    let user = crate::ops::encode(&(sign_in.user.tenant_id(), sign_in.user.id()))?;
    fields.insert(USER.to_owned(), user);
    fields.insert(DEVICE.to_owned(), sign_in.device.clone());
    fields.insert(LINEAGE.to_owned(), sign_in.lineage.clone());
    Ok(fields)
}

/// A random pause that grows, so that those who met do not meet again.
fn pause(run: u32) -> Result<Duration> {
    let most = (1_u64 << run.min(4)).min(MAX_PAUSE_MS) * 1_000;
    let [a, b] = random()?;
    Ok(Duration::from_micros(u64::from(u16::from_be_bytes([a, b])) * most / 65_536))
}

fn taken() -> Error {
    Error::new(ErrorKind::Internal, "a random session key was taken")
}
