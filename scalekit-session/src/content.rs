//! What a session holds, as a closure that merges it sees it.

use std::{collections::BTreeMap, fmt};

use scalekit_core::Result;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Counter, CounterMap, Field, List,
    ops::{decode, member_name},
    read::number,
};

/// The fields of a session that a sign-in takes over, to be changed before they become the user's; see
/// [`SignIn::merging`](crate::SignIn::merging). What stays in it is kept.
#[derive(Default)]
pub struct Content(BTreeMap<String, String>);

impl Content {
    /// A field, if it is set.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](scalekit_core::ErrorKind::Corrupt) if it holds another type.
    pub fn get<T: DeserializeOwned>(&self, field: Field<T>) -> Result<Option<T>> {
        Ok(self.0.get(field.name()).map(|text| field.decode(text)).transpose()?.flatten())
    }

    /// Writes a field.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](scalekit_core::ErrorKind::Invalid) if the value is no JSON.
    pub fn set<T: Serialize>(&mut self, field: Field<T>, value: &T) -> Result<()> {
        self.0.insert(field.name().to_owned(), field.encode(value)?);
        Ok(())
    }

    /// Removes a field.
    pub fn remove<T>(&mut self, field: Field<T>) {
        self.0.remove(field.name());
    }

    /// A counter; 0 if it was never changed.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn counter(&self, counter: Counter) -> Result<i64> {
        self.0.get(counter.name()).map_or(Ok(0), |text| number(text))
    }

    /// A list, the oldest entry first; empty if nothing was appended.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn list<T: DeserializeOwned>(&self, list: List<T>) -> Result<Vec<T>> {
        self.0.get(list.name()).iter().flat_map(|text| text.split('\n')).map(decode).collect()
    }

    /// A map with all its members.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn counter_map(&self, map: CounterMap) -> Result<BTreeMap<String, i64>> {
        let prefix = map.prefix();
        let own = self.0.iter().filter_map(|(name, text)| Some((name.strip_prefix(&prefix)?, text)));
        own.map(|(member, text)| Ok((member.to_owned(), number(text)?))).collect()
    }

    /// Sets a member of a map; one that is 0 or less is removed where the map drops such.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](scalekit_core::ErrorKind::Invalid) for a member that is not 1 to 128 bytes long.
    pub fn set_member(&mut self, map: CounterMap, member: &str, value: i64) -> Result<()> {
        let name = member_name(map, member)?;
        if map.drops_empty() && value <= 0 {
            self.0.remove(&name);
        } else {
            self.0.insert(name, value.to_string());
        }
        Ok(())
    }

    /// Removes everything: a sign-in that keeps nothing of the guest.
    pub fn clear(&mut self) {
        self.0.retain(|name, _| name.starts_with('!'));
    }

    pub(crate) fn of(fields: BTreeMap<String, String>) -> Self {
        Self(fields)
    }

    pub(crate) fn into_fields(self) -> BTreeMap<String, String> {
        self.0
    }
}

// Shows how many fields, not what they hold.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} fields)", self.0.len())
    }
}
