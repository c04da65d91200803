//! Changes as a value: recorded in a transaction, applied to a session after its commit.

use scalekit_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Counter, CounterMap, Field,
    pending::Pending,
    store::{Change, Record},
};

/// Changes of a session that are applied once under an operation's id; see [`Session::apply`](crate::Session::apply).
///
/// ```
/// use scalekit_session::{Counter, CounterMap, SessionOps};
///
/// const CART: CounterMap = CounterMap::new("cart").dropping_empty();
/// const GENERATION: Counter = Counter::new("cart-generation");
///
/// let ordered = SessionOps::new().add(CART, "tea", -2)?.incr(GENERATION, 1)?;
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SessionOps(Pending);

impl SessionOps {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a field.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the value is no JSON.
    pub fn set<T: Serialize>(mut self, field: Field<T>, value: &T) -> Result<Self> {
        self.0.set(field.name(), field.encode(value)?)?;
        Ok(self)
    }

    /// Removes a field.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above 256 changes.
    pub fn remove<T>(mut self, field: Field<T>) -> Result<Self> {
        self.0.remove(field.name())?;
        Ok(self)
    }

    /// Adds to a counter.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a step above 10^12.
    pub fn incr(mut self, counter: Counter, by: i64) -> Result<Self> {
        self.0.add(counter.name(), by, false)?;
        Ok(self)
    }

    /// Adds to a member of a map.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a step above 10^12 or a member that is not 1 to 128 bytes long.
    pub fn add(mut self, map: CounterMap, member: &str, by: i64) -> Result<Self> {
        self.0.add(&member_name(map, member)?, by, map.drops_empty())?;
        Ok(self)
    }

    /// The changes in bytes that a session recorded in a transaction, whichever session that was.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not such a record.
    pub fn from_recorded(recorded: &[u8]) -> Result<Self> {
        let mut pending = Pending::default();
        for change in Recorded::decode(recorded)?.changes {
            match change {
                Change::Set(field, value) => pending.set(&field, value)?,
                Change::Remove(field) => pending.remove(&field)?,
                Change::Add(field, by, floor) => pending.add(&field, by, floor)?,
                Change::Append(field, entry, most) => pending.append(&field, entry, most)?,
                Change::Swap(..) => return Err(unreadable()),
            }
        }
        Ok(Self(pending))
    }

    pub(crate) fn changes(&self) -> Result<Vec<Change>> {
        self.0.over(&Record::default())
    }
}

/// What stands in the transaction: which session, and what to change. Holds no secret.
#[derive(Serialize, Deserialize)]
pub(crate) struct Recorded {
    #[serde(rename = "t")]
    pub(crate) tag: String,
    #[serde(rename = "m")]
    pub(crate) member: String,
    #[serde(rename = "c")]
    pub(crate) changes: Vec<Change>,
}

impl Recorded {
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "session changes cannot be recorded").with_source(error)
        })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| unreadable().with_source(error))
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::Invalid, "a session's value must be JSON").with_source(error))
}

pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "a session's field holds another type").with_source(error)
    })
}

pub(crate) fn member_name(map: CounterMap, member: &str) -> Result<String> {
    map.member(member).ok_or_else(|| {
        Error::new(
            ErrorKind::Invalid,
            format!("a member of a session's map is 1 to 128 bytes, not {}", member.len()),
        )
    })
}

fn unreadable() -> Error {
    Error::new(ErrorKind::Corrupt, "recorded session changes cannot be read")
}
