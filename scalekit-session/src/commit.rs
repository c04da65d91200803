//! What happens after the handler: changes, a new session, a sign-in or a sign-out, each in one script.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use http::StatusCode;
use scalekit_core::{Error, ErrorKind, Hop, Result};
use tracing::Instrument;

use crate::{
    Applied,
    address::session_key,
    cookie::{Ticket, random},
    identity::new_lineage,
    metrics::count,
    pending::{Pending, not_a_number},
    session::full,
    store::{
        Change, Committed, Created, Creation, Ending, Removed, Rotated, Rules, SessionKey, Successor,
        record::LINEAGE,
    },
    visit::{Fate, Known, Visit},
};

/// Runs of an `update` before the response becomes 409.
const MAX_RUNS: u32 = 32;
/// Runs that follow a conflict at once, on the value that came with it; the later ones pause and read again.
const QUICK_RUNS: u32 = 4;
/// Longest pause between two runs.
const MAX_PAUSE_MS: u64 = 16;

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
#[derive(Clone, Default)]
pub(crate) enum Hand {
    #[default]
    Nothing,
    Give(Ticket),
    Take,
}

impl Visit {
    /// Does what the request has asked for, in a task of its own: a client that hangs up now must not tear a sign-in
    /// in two. What could not be done is asked for again.
    ///
    /// # Errors
    /// The store's failure; [`ErrorKind::Conflict`] after the last re-run; a limit.
    pub(crate) async fn commit(self: &Arc<Self>) -> Result<Applied> {
        let visit = self.clone();
        let dropped = self.lock().dropped;
        let task = tokio::spawn(async move {
            let _turn = visit.committing.lock().await;
            visit.carry_out().await
        });
        task.await.unwrap_or_else(|error| {
            // The runtime that ends drops its tasks in any order.
            let how =
                if error.is_panic() { "the session's commit panicked" } else { "the process is ending" };
            Err(Error::new(ErrorKind::OutcomeUnknown, how).with_source(error))
        })?;
        // It may be another call's commit that has taken these changes.
        Ok(if self.lock().dropped == dropped { Applied::Done } else { Applied::Gone })
    }

    async fn carry_out(&self) -> Result<()> {
        let (mut fate, mut pending) = {
            let mut state = self.lock();
            if !state.has_work() {
                return Ok(());
            }
            state.under_way = true;
            // What is asked for from here on is for the next commit.
            (mem::take(&mut state.fate), mem::take(&mut state.pending))
        };
        self.shared.meet_others();
        let before = self.key();
        let dropped = self.lock().dropped;
        let timing = self.shared.signals.start(Hop::Cache, "session_commit");
        let session = before.as_ref().ok().and_then(Option::as_ref).map(SessionKey::short);
        let span = tracing::debug_span!("session_commit", session);
        let done = self.steps(&mut fate, &mut pending).instrument(span).await;
        timing.end(match &done {
            Ok(()) if self.lock().dropped == dropped => "ok",
            Ok(()) => "gone",
            Err(error) => match error.kind() {
                ErrorKind::Conflict | ErrorKind::TooLarge | ErrorKind::Invalid => "refused",
                _ => "error",
            },
        });
        if let Ok(Some(key)) = before {
            self.shared.copies.forget(&key);
        }
        let mut state = self.lock();
        state.under_way = false;
        if done.is_err() {
            state.take_back(fate, pending);
        }
        done
    }

    /// Each step leaves what has not been done yet.
    async fn steps(&self, fate: &mut Fate, pending: &mut Pending) -> Result<()> {
        match fate {
            Fate::SignIn(asked) => {
                self.hand_over(asked, pending).await?;
                (*fate, *pending) = (Fate::Keep, Pending::default());
            }
            Fate::SignOut => {
                self.sign_out_now().await?;
                *fate = Fate::Keep;
            }
            Fate::Keep | Fate::Renew => {}
        }
        let key = self.key()?;
        if !pending.is_empty() {
            self.keep(key.as_ref(), pending).await?;
            *pending = Pending::default();
        }
        match (fate, key) {
            // One that has begun just now has a new secret.
            (Fate::Renew, Some(key)) if self.key()?.as_ref() == Some(&key) => self.renew_now(&key).await,
            _ => Ok(()),
        }
    }

    /// Commits changes to the session; where there is none, begins one.
    async fn keep(&self, key: Option<&SessionKey>, pending: &mut Pending) -> Result<()> {
        let Some(key) = key else { return self.begin(pending).await };
        let (known, answered) = {
            let state = self.lock();
            (state.known.clone(), state.answered)
        };
        let mut committed = match known {
            Known::Ended => Committed::Ended,
            Known::Missing => Committed::Missing,
            Known::Not | Known::Found(_) => self.change(pending, key).await?,
        };
        if committed == Committed::Ended
            && let Some(now) = self.key_to_go_on_with(key).await?
        {
            committed = self.change(pending, &now).await?;
        }
        match committed {
            Committed::Done | Committed::Before => self.lock().forget(),
            // Once the head has been sent, nobody would get a new session's cookie. One that was ended has left its mark: a
            // late response does not replace the cookie that a sign-in, or a sign-out, has set meanwhile.
            Committed::Missing if !answered => return self.begin(pending).await,
            _ => self.drop_changes(),
        }
        Ok(())
    }

    /// The session has ended.
    fn drop_changes(&self) {
        count(&self.shared.counters.gone);
        let mut state = self.lock();
        state.dropped += 1;
        state.forget();
    }

    /// Commits changes of a session that exists; tells if it does not.
    async fn change(&self, pending: &mut Pending, key: &SessionKey) -> Result<Committed> {
        let shared = &self.shared;
        let mut base = match pending.has_updates() {
            true => self.fetch().await?.unwrap_or_default(),
            false => Arc::default(),
        };
        for run in 0..MAX_RUNS {
            let changes = pending.over(&base)?;
            let committed = {
                let meter = self.meter()?;
                shared.store.commit(key, &changes, None, &shared.rules, meter.left).await
            };
            if committed.as_ref().is_err_and(|error| error.kind() == ErrorKind::OutcomeUnknown) {
                pending.keep_repeatable();
            }
            match self.counted(committed)? {
                Committed::Conflict(now) => {
                    count(&shared.counters.conflicts);
                    base = Arc::new(now);
                }
                Committed::Full => return Err(full()),
                Committed::NotANumber => return Err(not_a_number()),
                committed => {
                    if committed == Committed::Done {
                        count(&shared.counters.commits);
                    }
                    return Ok(committed);
                }
            }
            if let Some(late) = run.checked_sub(QUICK_RUNS) {
                // A value that is as old as the pause would only meet the next conflict.
                tokio::time::sleep(pause(late)?).await;
                self.lock().forget();
                base = self.fetch().await?.unwrap_or_default();
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
        // Not beside a commit of the same request, which it would meet half done.
        let _turn = self.committing.lock().await;
        if self.lock().starts_empty() {
            return Ok(None);
        }
        let mut record = self.fetch().await?;
        let Some(key) = self.key()? else { return Ok(None) };
        for _ in 0..MAX_RUNS {
            let Some(held) = record.as_ref().and_then(|record| record.0.get(field)).cloned() else { break };
            let decoded = decode(&held)?;
            let swap = Change::Swap(field.to_owned(), Some(held), None);
            let committed = {
                let meter = self.meter()?;
                self.shared.store.commit(&key, &[swap], None, &self.shared.rules, meter.left).await
            };
            match self.counted(committed)? {
                Committed::Done => {
                    count(&self.shared.counters.commits);
                    self.lock().forget_field(field);
                    return Ok(decoded);
                }
                Committed::Conflict(now) => record = Some(Arc::new(now)),
                _ => break,
            }
        }
        self.lock().forget_field(field);
        Ok(None)
    }

    /// Creates a session for a guest, if there is anything to keep.
    async fn begin(&self, pending: &Pending) -> Result<()> {
        let shared = &self.shared;
        let mut fields = pending.onto(BTreeMap::new())?;
        if fields.is_empty() {
            return Ok(());
        }
        fields.insert(LINEAGE.to_owned(), new_lineage()?);
        let ticket = Ticket::issue(random()?, false, shared.clock.now_ms())?;
        let creation = Creation {
            key: session_key(&shared.namespace, &ticket)?,
            fields,
            idle: shared.rules.idle,
            absolute: shared.rules.absolute,
            index: None,
            replaces: None,
            again: false,
        };
        match self.create(&creation, &shared.rules).await? {
            Created::Done => self.lock().go_on_with(Hand::Give(ticket)),
            Created::Full => return Err(full()),
            Created::Taken | Created::Changed(_) => return Err(taken()),
        }
        Ok(())
    }

    /// Gives the session a new secret, whose former one is dead at once.
    async fn renew_now(&self, key: &SessionKey) -> Result<()> {
        let Some(ticket) = self.ticket() else { return Ok(()) };
        let next = Ticket::issue(ticket.tag, ticket.of_user, self.shared.clock.now_ms())?;
        let mut rotated = self.rotate_to(key, &next, Successor::Alone).await?;
        if rotated == Rotated::Gone
            && let Some(now) = self.key_to_go_on_with(key).await?
        {
            rotated = self.rotate_to(&now, &next, Successor::Alone).await?;
        }
        match rotated {
            Rotated::Done => self.lock().go_on_with(Hand::Give(next)),
            Rotated::Forwarded(_) | Rotated::Gone => self.drop_changes(),
        }
        Ok(())
    }

    /// Signs out. Only who has ended the session takes its cookie away: a late response may meet a newer one.
    async fn sign_out_now(&self) -> Result<()> {
        if let Some(key) = self.key()? {
            let ended = self.end_session(&key, None, Ending::Mark).await? == Removed::Done;
            count(if ended { &self.shared.counters.commits } else { &self.shared.counters.gone });
            if !ended {
                self.lock().known = Known::Ended;
                return Ok(());
            }
        }
        let mut state = self.lock();
        if state.had_cookie(&self.shared) {
            state.go_on_with(Hand::Take);
        }
        Ok(())
    }

    pub(crate) async fn create(&self, creation: &Creation, rules: &Rules) -> Result<Created> {
        let meter = self.meter()?;
        let created = self.shared.store.create(creation, rules, meter.left).await;
        let created = self.counted(created)?;
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
        self.shared.copies.forget(key);
        let meter = self.meter()?;
        self.counted(self.shared.store.end(key, version, ending, meter.left).await)
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
