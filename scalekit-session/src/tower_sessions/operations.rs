//! The four operations, without the types that differ between versions of tower-sessions.

use std::{sync::atomic::AtomicU64, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use scalekit_core::{Error, ErrorKind};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{
    FOREVER, READ, TowerSessionStore,
    base::{Base, Origin},
    fields::{Data, Fields, decode, encode, of_record},
};
use crate::{
    address::{recorded_key, tag_text},
    metrics::count,
    store::{Change, Committed, Created, Creation, Ending, Loaded, Removed, Rules, SessionKey},
};

/// Ids that are tried for a new session. Of 128 random bits, a second one is not expected in the life of a service.
const TRIES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) dropped: AtomicU64,
    pub(super) whole: AtomicU64,
}

/// Why an operation failed, as tower-sessions tells it apart.
pub(super) enum Failure {
    Encode(String),
    Decode(String),
    Backend(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Corrupt => Self::Decode(error.to_string()),
            _ => Self::Backend(error.to_string()),
        }
    }
}

impl TowerSessionStore {
    /// Writes a session that was not there, under another id if this one is taken.
    pub(super) async fn create_record(
        &self,
        id: &mut i128,
        data: &Data,
        expiry: OffsetDateTime,
        another: impl Fn() -> i128 + Send,
    ) -> Result<(), Failure> {
        let fields = encode(data, expiry)?;
        let Some(idle) = self.lifetime(expiry) else { return Ok(()) };
        for _ in 0..TRIES {
            let creation = Creation {
                key: self.key(*id)?,
                fields: fields.clone(),
                idle,
                absolute: FOREVER,
                index: None,
                replaces: None,
                again: false,
            };
            match self.store.create(&creation, &self.rules, self.budget).await? {
                Created::Done => {
                    let base = Base::new(&creation.key.member, &fields);
                    self.bases().remember(Origin::of(data), base);
                    return Ok(());
                }
                Created::Taken => *id = another(),
                Created::Full => return Err(full()),
                Created::Changed(_) => break,
            }
        }
        Err(Failure::Backend("no free id for a session was found".to_owned()))
    }

    /// Writes what has changed, if the session is still there.
    pub(super) async fn save_record(
        &self,
        id: i128,
        data: &Data,
        expiry: OffsetDateTime,
    ) -> Result<(), Failure> {
        let Some(idle) = self.lifetime(expiry) else { return self.delete_record(id).await };
        let (key, origin, fields) = (self.key(id)?, Origin::of(data), encode(data, expiry)?);
        let known = self.bases().get(origin, &key.member);
        let base = match known {
            Some(base) => base,
            None => {
                count(&self.counters.whole);
                let Some(now) = self.read(&key).await? else {
                    count(&self.counters.dropped);
                    return Ok(());
                };
                Base::new(&key.member, &now)
            }
        };
        let changes = difference(&base, &fields);
        if changes.is_empty() {
            return Ok(());
        }
        // If no answer comes, what the store holds is not known.
        self.bases().forget(origin);
        let rules = Rules { idle, ..self.rules.clone() };
        match self.store.commit(&key, &changes, None, &rules, self.budget).await? {
            Committed::Done | Committed::Before => {
                let base = Base::new(&key.member, &fields);
                self.bases().remember(origin, base);
                Ok(())
            }
            Committed::Missing | Committed::Ended => {
                count(&self.counters.dropped);
                Ok(())
            }
            Committed::Full => Err(full()),
            Committed::Conflict(_) | Committed::NotANumber => {
                Err(Failure::Backend("a session's commit was answered out of place".to_owned()))
            }
        }
    }

    pub(super) async fn load_record(&self, id: i128) -> Result<Option<(Data, OffsetDateTime)>, Failure> {
        let key = self.key(id)?;
        let Some(fields) = self.read(&key).await? else { return Ok(None) };
        let (data, expiry) = decode(&fields)?;
        if self.lifetime(expiry).is_none() {
            return Ok(None);
        }
        let base = Base::new(&key.member, &fields);
        self.bases().remember(Origin::of(&data), base);
        Ok(Some((data, expiry)))
    }

    pub(super) async fn delete_record(&self, id: i128) -> Result<(), Failure> {
        match self.store.end(&self.key(id)?, None, Ending::Mark, self.budget).await? {
            Removed::Done | Removed::Gone | Removed::Changed(_) => Ok(()),
        }
    }

    async fn read(&self, key: &SessionKey) -> Result<Option<Fields>, Failure> {
        Ok(match self.store.load(key, &self.rules, self.budget).await? {
            Loaded::Live(record) => Some(of_record(record)),
            Loaded::Forwarded { .. } | Loaded::Reused { .. } | Loaded::Ended | Loaded::Missing => None,
        })
    }

    /// Where the session of an id is; the id cannot be told from it.
    fn key(&self, id: i128) -> Result<SessionKey, Failure> {
        let digest = Sha256::digest(id.to_le_bytes());
        let tag = tag_text([digest[0], digest[1]]);
        Ok(recorded_key(&self.namespace, &tag, URL_SAFE_NO_PAD.encode(digest))?)
    }

    /// How long the store is to keep a session; `None` if it has expired.
    ///
    /// A commit moves the deadline only where that gains a tenth, so it is set a ninth too late: what is left is always
    /// enough.
    fn lifetime(&self, expiry: OffsetDateTime) -> Option<Duration> {
        let left = expiry.unix_timestamp_nanos() - i128::from(self.clock.now_ms()) * 1_000_000;
        if left <= 0 {
            return None;
        }
        // The store knows whole milliseconds.
        let left = u64::try_from(left / 1_000_000 + 1).map_or(FOREVER, Duration::from_millis).min(FOREVER);
        Some((left + left / 9 + Duration::from_millis(1)).clamp(READ, FOREVER))
    }
}

/// What makes the fields of what they were.
fn difference(base: &Base, fields: &Fields) -> Vec<Change> {
    let set = fields.iter().filter(|(name, text)| !base.holds(name, text));
    let set = set.map(|(name, text)| Change::Set(name.clone(), text.clone()));
    let gone = base.names().filter(|name| !fields.contains_key(*name));
    set.chain(gone.map(|name| Change::Remove(name.clone()))).collect()
}

fn full() -> Failure {
    Failure::Backend("a session passes its limit of fields or bytes".to_owned())
}
