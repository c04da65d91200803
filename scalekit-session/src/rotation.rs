//! A session that gets a new secret although nobody signs in: from time to time, or because its user asks.

use std::sync::Arc;

use scalekit_core::{Principal, Result};

use crate::{
    address::session_key,
    commit::Hand,
    cookie::Ticket,
    identity::own_handle,
    leftover::Delay,
    metrics::count,
    store::{Ending, Record, Rotated, SessionKey, Successor, record::GUEST},
    visit::{Fate, Known, Shared, Visit},
};

/// What to do with a session of which a former secret is used after the grace: the client has the new one, so somebody
/// else has the former.
///
/// It is counted in [`Metrics::reused`](crate::Metrics::reused) and logged in any case, and the request is anonymous.
///
/// ```
/// use scalekit_core::KeyRing;
/// use scalekit_session::{MemoryStore, OnReuse, Sessions};
///
/// let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate()?).on_reuse(OnReuse::End).build()?;
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnReuse {
    /// Nothing more. A client that restores old cookies, such as a browser's from a backup, does the same as a thief.
    #[default]
    Report,
    /// The session ends: its user signs in again.
    End,
}

/// A session of which a former secret was used after its grace; see [`when_reused`](crate::SessionsBuilder::when_reused).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reuse {
    /// Who is signed in.
    pub user: Option<Principal>,
    /// Its id among the user's sessions; see [`Sibling::id`](crate::Sibling::id).
    pub id: Option<String>,
}

pub(crate) type WhenReused = Arc<dyn Fn(&Reuse) + Send + Sync>;

impl Visit {
    /// Gives the session a new secret if its time has come; a failure leaves it as it is.
    ///
    /// Only one that was read, by the newest secret it has: what leads to it must not be rotated again.
    pub(crate) async fn rotate_if_due(&self) -> Hand {
        let Some(every) = self.shared.rotate_every else { return Hand::Nothing };
        let ticket = {
            let mut state = self.lock();
            let open = matches!(state.known, Known::Found(_)) && matches!(state.fate, Fate::Keep);
            if !open || state.former {
                return Hand::Nothing;
            }
            state.ticket(&self.shared).cloned()
        };
        let now = self.shared.clock.now_ms();
        let due = |ticket: &Ticket| {
            now.saturating_sub(u64::from(ticket.issued) * 1_000) >= every.as_millis() as u64
        };
        let Some(ticket) = ticket.filter(due) else { return Hand::Nothing };
        let next = ticket.successors(&self.shared.ring, now).into_iter().next();
        let (Some(next), Ok(Some(key))) = (next, self.key()) else { return Hand::Nothing };
        match self.rotate_to(&key, &next, Successor::Forwarded).await {
            Ok(Rotated::Done) => Hand::Give(next),
            // Who has rotated it meanwhile hands it out; if that does not arrive, the next request gets it.
            Ok(Rotated::Forwarded(_) | Rotated::Gone) | Err(_) => Hand::Nothing,
        }
    }

    /// Moves the session to the key of another ticket.
    pub(crate) async fn rotate_to(
        &self,
        from: &SessionKey,
        to: &Ticket,
        successor: Successor,
    ) -> Result<Rotated> {
        let to = session_key(&self.shared.namespace, to)?;
        let meter = self.meter()?;
        let rotated = self.counted(self.shared.store.rotate(from, &to, successor, meter.left).await)?;
        if rotated == Rotated::Done {
            count(&self.shared.counters.rotations);
        }
        Ok(rotated)
    }
}

impl Shared {
    /// The secret of a sign-in has arrived: the guest's session that it has replaced is of no more use.
    pub(crate) fn end_guest(self: &Arc<Self>, record: &Record) {
        if let Some(guest) = record.0.get(GUEST).and_then(|full| SessionKey::of(full)) {
            self.end_later(guest, Ending::Mark, Delay::None);
        }
    }

    /// Somebody came with a former secret after its grace.
    pub(crate) fn reused(self: &Arc<Self>, at: SessionKey, record: &Record) {
        count(&self.counters.reused);
        if let Some(tell) = &self.when_reused {
            // Who it belongs to is not to be lost because that cannot be read.
            tell(&Reuse { user: record.user().ok().flatten(), id: own_handle(record) });
        }
        // No other lines take the place of these.
        if self.reuses.is_due(self.clock.now_ms()) {
            tracing::warn!(
                session = at.short(),
                "a session's former secret was used after it had been rotated: it may have been stolen"
            );
        }
        if self.on_reuse == OnReuse::End {
            self.end_later(at, Ending::Mark, Delay::None);
        }
    }
}
