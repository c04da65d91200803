//! The session as a handler sees it.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use scalekit_core::{Error, ErrorKind, OperationId, Principal, Result, http::Participants};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Counter, CounterMap, Field, SessionOps,
    ops::{decode, encode, member_name},
    pending::{Pending, Rerun, not_a_number},
    store::{Committed, Record},
    visit::{Fate, Known, Visit},
};

/// How often an `update` starts over because the same request changed the field while its closure ran.
const MAX_OVERTAKEN: u32 = 8;

/// The session of a request: an extractor, and a handle whose clones are the same session.
///
/// Extracting it costs nothing; the first read loads it, the layer commits what was changed after the
/// handler, in one script, and only the changes travel. A handler sees its own changes at once.
///
/// | the request | round trips |
/// |---|---|
/// | does not use the session, or comes without a valid cookie and does not write | 0 |
/// | reads | 1 |
/// | writes without reading ([`set`](Self::set), [`incr`](Self::incr), [`add`](Self::add)) | 1 |
/// | reads and writes | 2 |
/// | signs in over a guest's session | 2, and 1 to remove the guest's |
///
/// Guarantee: changes of parallel requests to different fields, to counters, and by [`update`](Self::update)
/// are all kept. A session that ended is not brought back: the write is dropped and counted, and the
/// response stands. If the response is a server error (5xx), nothing is committed.
///
/// Non-guarantee: of two parallel [`set`](Self::set)s of one field, the later wins. When the store fails in
/// the commit, the response becomes 503 and the handler's other effects stand.
///
/// ```
/// use scalekit_core::Principal;
/// use scalekit_session::{CounterMap, Field, Session};
///
/// const CART: CounterMap = CounterMap::new("cart").dropping_empty();
/// const SEEN: Field<Vec<String>> = Field::new("seen");
///
/// async fn add_to_cart(session: Session) -> scalekit_core::Result<()> {
///     session.add(CART, "tea", 1)?;
///     session.update(SEEN, |seen| seen.push("tea".to_owned())).await?;
///     Ok(())
/// }
///
/// async fn sign_in(session: Session) -> scalekit_core::Result<()> {
///     session.sign_in(&Principal::user("ada").tenant("acme"), "Firefox on Linux").await
/// }
/// ```
#[derive(Clone)]
pub struct Session(pub(crate) Arc<Visit>);

impl Session {
    /// Reads a field; `None` if it is not set.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer: the visitor is not taken for one without a session. [`ErrorKind::Corrupt`] if the field holds another type.
    pub async fn get<T: DeserializeOwned>(&self, field: Field<T>) -> Result<Option<T>> {
        self.text(field.name()).await?.map(|text| decode(&text)).transpose()
    }

    /// Reads a counter; 0 if it was never changed.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn counter(&self, counter: Counter) -> Result<i64> {
        self.text(counter.name()).await?.map_or(Ok(0), |text| number(&text))
    }

    /// Reads a map with all its members, in the order of their names.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn counter_map(&self, map: CounterMap) -> Result<BTreeMap<String, i64>> {
        let base = self.0.base().await?;
        let prefix = map.prefix();
        let fields = self.pending().view_all(&prefix, &base)?;
        let member = |(name, text): (String, String)| Ok((name[prefix.len()..].to_owned(), number(&text)?));
        fields.into_iter().map(member).collect()
    }

    /// Writes a field. Of parallel writes the last one wins; see [`update`](Self::update).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the value is no JSON, [`ErrorKind::TooLarge`] above 256 changes in a request.
    pub fn set<T: Serialize>(&self, field: Field<T>, value: &T) -> Result<()> {
        let value = encode(value)?;
        self.0.lock().pending.set(field.name(), value)
    }

    /// Removes a field.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above 256 changes in a request.
    pub fn remove<T>(&self, field: Field<T>) -> Result<()> {
        self.0.lock().pending.remove(field.name())
    }

    /// Adds to a counter; parallel requests add up.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a step above 10^12, [`ErrorKind::TooLarge`] above 256 changes in a request.
    pub fn incr(&self, counter: Counter, by: i64) -> Result<()> {
        self.0.lock().pending.add(counter.name(), by, false)
    }

    /// Adds to a member of a map; parallel requests add up.
    ///
    /// # Errors
    /// As [`incr`](Self::incr), and [`ErrorKind::Invalid`] for a member that is not 1 to 128 bytes long.
    pub fn add(&self, map: CounterMap, member: &str, by: i64) -> Result<()> {
        let name = member_name(map, member)?;
        self.0.lock().pending.add(&name, by, map.drops_empty())
    }

    /// Removes a member of a map.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn remove_member(&self, map: CounterMap, member: &str) -> Result<()> {
        let name = member_name(map, member)?;
        self.0.lock().pending.remove(&name)
    }

    /// Changes a field by what it holds, starting from the default where it holds nothing; returns the new
    /// value. If another request changed the field meanwhile, the closure runs again on what that left. It
    /// should only compute: what it asks of the session itself is done as often as it runs, before the commit.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::Misuse`] on a route whose changes are recorded in a transaction:
    /// only [`set`](Self::set), [`remove`](Self::remove), [`incr`](Self::incr) and [`add`](Self::add) can be.
    /// In the commit, 409 if the field was overtaken again and again.
    pub async fn update<T, F>(&self, field: Field<T>, change: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Default,
        F: Fn(&mut T) + Send + Sync + 'static,
    {
        self.refuse_if_enlisted("an update by a closure")?;
        let base = self.0.base().await?;
        let rerun = move |stored: Option<&str>| {
            let mut value = stored.map(decode::<T>).transpose()?.unwrap_or_default();
            change(&mut value);
            encode(&value)
        };
        let stored = base.0.get(field.name()).map(String::as_str);
        let rerun: Rerun = Arc::new(rerun);
        for _ in 0..MAX_OVERTAKEN {
            let pending = self.pending();
            let after = rerun(pending.view(field.name(), stored)?.as_deref())?;
            let mut state = self.0.lock();
            if state.pending.agrees(&pending, field.name()) {
                state.pending.update(field.name(), rerun, &after)?;
                return decode(&after);
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the request itself changed the field while a closure updated it",
        ))
    }

    /// Who is signed in.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn user(&self) -> Result<Option<Principal>> {
        match self.0.lock().fate.clone() {
            Fate::SignIn(sign_in) => return Ok(Some(sign_in.user)),
            Fate::SignOut | Fate::Revoked => return Ok(None),
            Fate::Keep => {}
        }
        self.0.load().await?.map_or(Ok(None), |record| record.user())
    }

    /// A random id that the session keeps as long as what it holds is kept: over a sign-in from a guest's
    /// session and over another sign-in of the same user. `None` if there is no session yet.
    ///
    /// It opens nothing, and may be stored as part of a unique key.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn lineage(&self) -> Result<Option<String>> {
        if let Fate::SignIn(sign_in) = self.0.lock().fate.clone() {
            return Ok(Some(sign_in.lineage));
        }
        Ok(self.0.base().await?.lineage().map(str::to_owned))
    }

    /// Applies changes to this session now, once for an operation id, however often it is called.
    ///
    /// Meant for changes that were recorded in a transaction and never arrived. The session remembers the
    /// newest 16 operations; an older one counts as applied. **Round trips**: 1.
    ///
    /// # Errors
    /// The store's failure, [`ErrorKind::TooLarge`] if the session would pass its limits.
    pub async fn apply(&self, operation: OperationId, ops: &SessionOps) -> Result<Applied> {
        let Some(key) = self.0.key()? else { return Ok(Applied::Gone) };
        let changes = ops.changes()?;
        let meter = self.0.meter()?;
        let (store, rules) = (&self.0.shared.store, &self.0.shared.rules);
        let outcome = self.0.watch(store.commit(&key, &changes, Some(operation), rules, meter.left).await)?;
        self.0.lock().known = Known::Not;
        self.0.shared.applied(outcome)
    }

    /// What was asked so far. A copy: closures run outside the lock, since one may use the session, or panic.
    fn pending(&self) -> Pending {
        self.0.lock().pending.clone()
    }

    pub(crate) fn refuse_if_enlisted(&self, what: &str) -> Result<()> {
        if self.0.lock().enlisted {
            let message = format!("{what} cannot be recorded in a transaction: use set, remove, incr or add");
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        Ok(())
    }

    async fn text(&self, name: &str) -> Result<Option<String>> {
        // Where the handler itself has set it, there is nothing to load.
        let decided = self.0.lock().pending.decides(name);
        let base = if decided { Arc::<Record>::default() } else { self.0.base().await? };
        self.pending().view(name, base.0.get(name).map(String::as_str))
    }
}

/// What became of [`Session::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// The changes were made.
    Done,
    /// The operation had been applied before.
    Before,
    /// The session has ended; the changes were dropped and counted.
    Gone,
}

impl crate::visit::Shared {
    pub(crate) fn applied(&self, outcome: Committed) -> Result<Applied> {
        match outcome {
            Committed::Done => {
                crate::metrics::count(&self.counters.commits);
                Ok(Applied::Done)
            }
            Committed::Before => Ok(Applied::Before),
            Committed::Missing | Committed::Ended => {
                crate::metrics::count(&self.counters.gone);
                Ok(Applied::Gone)
            }
            Committed::Full => Err(full()),
            Committed::NotANumber => Err(not_a_number()),
            Committed::Conflict(_) => Err(Error::new(ErrorKind::Conflict, "a recorded change met another")),
        }
    }
}

pub(crate) fn full() -> Error {
    Error::new(ErrorKind::TooLarge, "the session would pass its limit of fields or bytes")
}

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::of(parts)
    }
}

impl Session {
    /// The session that the layer has left in a request's extensions.
    ///
    /// # Errors
    /// [`ErrorKind::Misuse`] without the layer.
    pub fn of(parts: &Parts) -> Result<Self> {
        parts.extensions.get::<Participants>().and_then(Participants::find).map(Self).ok_or_else(|| {
            Error::new(
                ErrorKind::Misuse,
                "the route uses `Session`, but no session layer is around it: add `.layer(sessions.layer())`",
            )
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| not_a_number())
}
