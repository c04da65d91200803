//! The session as a handler sees it that only reads.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum_core::extract::FromRequestParts;
use http::request::Parts;
use scalekit_core::{Error, ErrorKind, Principal, Result, http::Participants};
use serde::de::DeserializeOwned;

use crate::{
    Counter, CounterMap, Field, List,
    metrics::count,
    ops::decode,
    pending::not_a_number,
    store::Record,
    visit::{Fate, Visit},
};

/// The session of a request, to be read and not changed: an extractor, and what [`Session`](crate::Session) reads by.
///
/// ```
/// use scalekit_session::{Field, ReadSession};
///
/// const LOCALE: Field<String> = Field::new("locale");
///
/// async fn home(session: ReadSession) -> scalekit_core::Result<String> {
///     Ok(session.get(LOCALE).await?.unwrap_or_else(|| "en".to_owned()))
/// }
/// ```
///
/// A handler that takes it changes nothing, and the compiler knows:
///
/// ```compile_fail,E0599
/// # use scalekit_session::{Field, ReadSession};
/// # const LOCALE: Field<String> = Field::new("locale");
/// async fn home(session: ReadSession) -> scalekit_core::Result<()> {
///     session.set(LOCALE, &"de".to_owned())
/// }
/// ```
#[derive(Clone)]
pub struct ReadSession(pub(crate) Arc<Visit>);

impl ReadSession {
    /// Reads a field; `None` if it is not set.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the store does not answer: the visitor is not taken for one without a session. [`ErrorKind::Corrupt`] if the field holds another type.
    pub async fn get<T: DeserializeOwned>(&self, field: Field<T>) -> Result<Option<T>> {
        let Some(text) = self.text(field.name()).await? else { return Ok(None) };
        let value = field.decode(&text)?;
        if value.is_none() {
            count(&self.visit().shared.counters.undecodable);
        }
        Ok(value)
    }

    /// Reads a list, the oldest entry first; empty if nothing was appended.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn list<T: DeserializeOwned>(&self, list: List<T>) -> Result<Vec<T>> {
        let text = self.text(list.name()).await?;
        text.iter().flat_map(|text| text.split('\n')).map(decode).collect()
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
        let fields = self.visit().pending().view_all(&prefix, &base)?;
        let member = |(name, text): (String, String)| Ok((name[prefix.len()..].to_owned(), number(&text)?));
        fields.into_iter().map(member).collect()
    }

    /// Who is signed in.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn user(&self) -> Result<Option<Principal>> {
        self.0.settled().await;
        match self.0.lock().fate.clone() {
            Fate::SignIn(asked) => return Ok(Some(asked.user)),
            Fate::SignOut => return Ok(None),
            Fate::Keep | Fate::Renew => {}
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
        self.0.settled().await;
        if let Fate::SignIn(asked) = self.0.lock().fate.clone() {
            return Ok(Some(asked.lineage));
        }
        Ok(self.0.base().await?.lineage().map(str::to_owned))
    }

    pub(crate) fn visit(&self) -> &Arc<Visit> {
        &self.0
    }

    async fn text(&self, name: &str) -> Result<Option<String>> {
        // Where the handler itself has set it, there is nothing to load.
        let decided = self.0.lock().pending.decides(name);
        let base = if decided { Arc::<Record>::default() } else { self.0.base().await? };
        self.visit().pending().view(name, base.0.get(name).map(String::as_str))
    }

    /// The session that the layer has left in a request's extensions.
    pub(crate) fn of(parts: &Parts) -> Result<Self> {
        parts.extensions.get::<Participants>().and_then(Participants::find).map(Self).ok_or_else(|| {
            Error::new(
                ErrorKind::Misuse,
                "the route uses the session, but no session layer is around it: add `.layer(sessions.layer())`",
            )
        })
    }
}

impl<S: Sync> FromRequestParts<S> for ReadSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        Self::of(parts)
    }
}

impl fmt::Debug for ReadSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadSession(..)")
    }
}

pub(crate) fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| not_a_number())
}
