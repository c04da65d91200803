//! A sign-in: the new session first, then the one before gives way. Never neither.

use std::{collections::BTreeMap, sync::Arc};

use scalekit_core::{Error, ErrorKind, Result};

use crate::{
    address::{UserPlace, session_key},
    commit::{Hand, taken},
    content::Content,
    cookie::Ticket,
    leftover::Delay,
    pending::Pending,
    session::full,
    store::{
        Created, Creation, Ending, Record, Removed, Replaced, SessionKey,
        record::{DEVICE, GUEST, IDLE, LINEAGE, OPERATIONS, USER},
    },
    visit::{Asked, Visit},
};

/// Reads of a session that changes while it is being replaced.
const MAX_READS: u32 = 4;

/// The session that gives way.
struct Before {
    key: SessionKey,
    ending: Ending,
    /// Whether one call ends it and creates the new one.
    at_once: bool,
}

impl Visit {
    pub(crate) async fn hand_over(&self, asked: &mut Asked, pending: &Pending) -> Result<()> {
        let ticket = self.create_for(asked, pending).await?;
        self.lock().go_on_with(Hand::Give(ticket));
        Ok(())
    }

    /// The new session's ticket; the session that it replaces has ended, or is about to.
    async fn create_for(&self, asked: &mut Asked, pending: &Pending) -> Result<Ticket> {
        let shared = &self.shared;
        let place = UserPlace::current(&shared.namespace, &shared.ring, &asked.user)?;
        let (tried, ticket) = match asked.ticket.clone() {
            Some(ticket) => (true, ticket),
            None => (false, Ticket::issue(place.tag, true, shared.clock.now_ms())?),
        };
        asked.ticket = Some(ticket.clone());
        let key = session_key(&shared.namespace, &ticket)?;
        let mut record = self.fetch().await?;
        let before = match self.ticket().filter(|_| record.is_some()) {
            Some(old) => Some(self.before(&old, &key, asked)?),
            None => None,
        };
        let mut again = false;
        for _ in 0..MAX_READS {
            let kept = record.as_deref().filter(|_| !asked.fresh);
            let version = kept.map(Record::version);
            let at_once = before.as_ref().filter(|before| before.at_once);
            let creation = Creation {
                key: key.clone(),
                fields: fields(asked, pending, kept, before.as_ref())?,
                idle: asked.idle.unwrap_or(shared.rules.idle),
                absolute: asked.absolute.unwrap_or(shared.rules.absolute),
                index: Some(place.index.clone()),
                replaces: at_once.map(|Before { key, ending, .. }| Replaced {
                    key: key.clone(),
                    version,
                    ending: *ending,
                }),
                again,
            };
            match self.create(&creation, &shared.rules.with_room_for(kept)).await? {
                Created::Done => {}
                Created::Changed(now) => {
                    record = Some(Arc::new(now)).filter(|now| !now.0.is_empty());
                    continue;
                }
                Created::Full => return Err(full()),
                // An earlier try, whose answer did not come, has created it.
                Created::Taken if tried => {}
                Created::Taken => return Err(taken()),
            }
            let Some(Before { key: old, ending, .. }) = before.as_ref().filter(|before| !before.at_once)
            else {
                return Ok(ticket);
            };
            match self.end_session(old, version, *ending).await {
                Ok(Removed::Changed(now)) => {
                    record = Some(Arc::new(now));
                    again = true;
                }
                // What has ended meanwhile does not live on in the new session.
                Ok(Removed::Gone) if version.is_some() => (record, again) = (None, true),
                Ok(Removed::Done | Removed::Gone) => return Ok(ticket),
                Err(_) => {
                    shared.end_later(old.clone(), *ending, Delay::Pause);
                    return Ok(ticket);
                }
            }
        }
        match before.filter(|_| again) {
            Some(Before { key: old, ending, .. }) => {
                // The new session is there; the old one must not outlive it.
                if self.end_session(&old, None, ending).await.is_err() {
                    shared.end_later(old, ending, Delay::Pause);
                }
                Ok(ticket)
            }
            None => {
                let message = "the session changed again and again during the sign-in";
                Err(Error::new(ErrorKind::Conflict, message))
            }
        }
    }

    fn before(&self, old: &Ticket, new: &SessionKey, asked: &Asked) -> Result<Before> {
        let key = self.key()?.unwrap_or(session_key(&self.shared.namespace, old)?);
        let ending = match old.of_user || asked.fresh {
            true => Ending::Mark,
            // The answer may be lost: then the guest still has its basket.
            false => Ending::Retire,
        };
        let at_once = self.shared.store.spans_prefixes() || key.prefix == new.prefix;
        Ok(Before { key, ending, at_once })
    }
}

/// What the new session holds: what is kept of the old one, the request's changes, and who it belongs to.
fn fields(
    asked: &Asked,
    pending: &Pending,
    kept: Option<&Record>,
    before: Option<&Before>,
) -> Result<BTreeMap<String, String>> {
    let keep = |name: &str| !name.starts_with('!') || name == OPERATIONS;
    let all = kept.into_iter().flat_map(|record| &record.0).filter(|(name, _)| keep(name));
    let mut fields = all.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let (Some(merge), Some(_)) = (&asked.merge, kept) {
        let mut content = Content::of(fields);
        merge(&mut content)?;
        fields = content.into_fields();
    }
    let mut fields = pending.onto(fields)?;
    let user = crate::ops::encode(&(asked.user.tenant_id(), asked.user.id()))?;
    fields.insert(USER.to_owned(), user);
    fields.insert(DEVICE.to_owned(), asked.device.clone());
    fields.insert(LINEAGE.to_owned(), asked.lineage.clone());
    if let Some(idle) = asked.idle {
        fields.insert(IDLE.to_owned(), idle.as_millis().to_string());
    }
    if let Some(guest) = before.filter(|before| before.ending == Ending::Retire) {
        fields.insert(GUEST.to_owned(), guest.key.full());
    }
    Ok(fields)
}
