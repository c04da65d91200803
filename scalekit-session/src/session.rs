//! The session as a handler sees it.

use std::{fmt, ops::Deref, sync::Arc};

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use scalekit_core::{Error, ErrorKind, OperationId, Result};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Counter, CounterMap, Field, List, ReadSession, SessionOps,
    ops::{encode, member_name},
    pending::{Rerun, not_a_number},
    store::Committed,
    visit::Fate,
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
/// | signs in over a guest's session | 2; in a Cluster 1 more, for the guest's |
/// | comes with a secret that was rotated, or whose time has come | 1 more |
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
pub struct Session(ReadSession);

impl Session {
    /// Writes a field. Of parallel writes the last one wins; see [`update`](Self::update).
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the value is no JSON, [`ErrorKind::TooLarge`] above 256 changes in a request.
    pub fn set<T: Serialize>(&self, field: Field<T>, value: &T) -> Result<()> {
        let value = field.encode(value)?;
        self.visit().lock().pending.set(field.name(), value)
    }

    /// Removes a field.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above 256 changes in a request.
    pub fn remove<T>(&self, field: Field<T>) -> Result<()> {
        self.visit().lock().pending.remove(field.name())
    }

    /// Adds to a counter; parallel requests add up.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a step above 10^12, [`ErrorKind::TooLarge`] above 256 changes in a request.
    pub fn incr(&self, counter: Counter, by: i64) -> Result<()> {
        self.visit().lock().pending.add(counter.name(), by, false)
    }

    /// Adds to a member of a map; parallel requests add up.
    ///
    /// # Errors
    /// As [`incr`](Self::incr), and [`ErrorKind::Invalid`] for a member that is not 1 to 128 bytes long.
    pub fn add(&self, map: CounterMap, member: &str, by: i64) -> Result<()> {
        let name = member_name(map, member)?;
        self.visit().lock().pending.add(&name, by, map.drops_empty())
    }

    /// Removes a member of a map.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn remove_member(&self, map: CounterMap, member: &str) -> Result<()> {
        let name = member_name(map, member)?;
        self.visit().lock().pending.remove(&name)
    }

    /// Appends to a list; parallel requests each find their place, and the oldest entries go.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn append<T: Serialize>(&self, list: List<T>, entry: &T) -> Result<()> {
        let entry = encode(entry)?;
        self.visit().lock().pending.append(list.name(), entry, list.most())
    }

    /// Removes a list with all its entries.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above 256 changes in a request.
    pub fn clear<T>(&self, list: List<T>) -> Result<()> {
        self.visit().lock().pending.remove(list.name())
    }

    /// Reads a field and removes it, now: of parallel requests one gets it. For a notice that is to be shown once.
    ///
    /// It is gone also if the handler fails afterwards; a value that cannot be decoded stays. **Round trips**: the load; and where the field is set, 1.
    ///
    /// # Errors
    /// As [`get`](ReadSession::get); [`ErrorKind::Misuse`] on a route whose changes are recorded in a transaction.
    pub async fn take<T: DeserializeOwned>(&self, field: Field<T>) -> Result<Option<T>> {
        self.refuse_if_enlisted("a field that is taken")?;
        let name = field.name();
        if self.visit().lock().pending.decides(name) {
            let own = self.get(field).await?;
            self.remove(field)?;
            return Ok(own);
        }
        if self.visit().lock().pending.touches(name) {
            let message = "a field cannot be changed by a closure and taken in one request";
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        self.visit().take(name, |text| field.decode(text)).await
    }

    /// Changes a field by what it holds, starting from the default where it holds nothing; returns the new
    /// value. If another request changed the field meanwhile, the closure runs again on what that left. It
    /// should only compute: what it asks of the session itself is done as often as it runs, before the commit.
    ///
    /// # Errors
    /// As [`get`](ReadSession::get); [`ErrorKind::Misuse`] on a route whose changes are recorded in a transaction:
    /// only [`set`](Self::set), [`remove`](Self::remove), [`incr`](Self::incr) and [`add`](Self::add) can be.
    /// In the commit, 409 if the field was overtaken again and again.
    pub async fn update<T, F>(&self, field: Field<T>, change: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned + Default + 'static,
        F: Fn(&mut T) + Send + Sync + 'static,
    {
        self.refuse_if_enlisted("an update by a closure")?;
        let base = self.visit().base().await?;
        let rerun = move |stored: Option<&str>| {
            let mut value = stored.map(|text| field.decode(text)).transpose()?.flatten().unwrap_or_default();
            change(&mut value);
            field.encode_over(&value, stored)
        };
        let stored = base.0.get(field.name()).map(String::as_str);
        let rerun: Rerun = Arc::new(rerun);
        for _ in 0..MAX_OVERTAKEN {
            let pending = self.visit().pending();
            let after = rerun(pending.view(field.name(), stored)?.as_deref())?;
            let mut state = self.visit().lock();
            if state.pending.agrees(&pending, field.name()) {
                state.pending.update(field.name(), rerun, &after)?;
                return Ok(field.decode(&after)?.unwrap_or_default());
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            "the request itself changed the field while a closure updated it",
        ))
    }

    /// Commits now what was asked for so far, in place of after the handler: for a handler whose answer is a stream, also
    /// while that goes on; and for one that must know that it is done before it goes on.
    ///
    /// It goes on if the call is dropped, and calls at the same time come one after the other. A cookie that this gives or
    /// takes goes with the response; a handler that panics afterwards, or a client that hangs up, loses it. What is asked
    /// for afterwards is committed by the next call, or after the handler. A request that has read its session goes on with
    /// it where another one gives that a new secret meanwhile. **Round trips**: those of a commit.
    ///
    /// # Errors
    /// Those of a commit. The commit after the handler tries again; only additions, appended entries and closures whose
    /// outcome is unknown are not tried again, since they may have been made. [`ErrorKind::Misuse`] on a
    /// route whose changes are recorded in a transaction, and for what needs a cookie when the head of the response has
    /// been sent: a first session, a sign-in, a sign-out.
    pub async fn commit_now(&self) -> Result<Applied> {
        self.refuse_if_enlisted("a commit of its own")?;
        {
            let mut state = self.visit().lock();
            let plain = matches!(state.fate, Fate::Keep) && state.ticket(&self.visit().shared).is_some();
            if state.answered && state.has_work() && !plain {
                let message =
                    "the response is under way: a session that begins, ends or is signed in needs its cookie";
                return Err(Error::new(ErrorKind::Misuse, message));
            }
        }
        self.visit().commit().await
    }

    /// Applies changes to this session now, once for an operation id, however often it is called.
    ///
    /// Meant for changes that were recorded in a transaction and never arrived. The session remembers the
    /// newest 16 operations; an older one counts as applied. **Round trips**: 1.
    ///
    /// # Errors
    /// The store's failure, [`ErrorKind::TooLarge`] if the session would pass its limits.
    pub async fn apply(&self, operation: OperationId, ops: &SessionOps) -> Result<Applied> {
        let Some(key) = self.visit().key()? else { return Ok(Applied::Gone) };
        let changes = ops.changes()?;
        let meter = self.visit().meter()?;
        let (store, rules) = (&self.visit().shared.store, &self.visit().shared.rules);
        let outcome =
            self.visit().counted(store.commit(&key, &changes, Some(operation), rules, meter.left).await)?;
        self.visit().lock().forget();
        self.visit().shared.applied(outcome)
    }

    pub(crate) fn refuse_if_enlisted(&self, what: &str) -> Result<()> {
        if self.visit().lock().enlisted {
            let message = format!("{what} cannot be recorded in a transaction: use set, remove, incr or add");
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        Ok(())
    }
}

/// What became of changes: of [`Session::apply`] and [`Session::commit_now`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// They were made.
    Done,
    /// The operation had been applied before; only of `apply`.
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

/// Everything that reads.
impl Deref for Session {
    type Target = ReadSession;

    fn deref(&self) -> &ReadSession {
        &self.0
    }
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
        ReadSession::of(parts).map(Self)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}
