//! A session as it is stored: its key, its fields, its metadata.

use std::{collections::BTreeMap, fmt, time::Duration};

use scalekit_core::{Error, ErrorKind, Principal, Result};

use super::Rules;

/// Raised by every change.
pub(crate) const VERSION: &str = "!v";
/// When it was created, in ms by the store's clock.
pub(crate) const CREATED: &str = "!c";
/// The absolute deadline, likewise. What has none is no session.
pub(crate) const DEADLINE: &str = "!a";
/// The idle time in ms, where a sign-in has set another one.
pub(crate) const IDLE: &str = "!t";
pub(crate) const USER: &str = "!u";
pub(crate) const DEVICE: &str = "!d";
pub(crate) const INDEX: &str = "!i";
pub(crate) const LINEAGE: &str = "!l";
pub(crate) const OPERATIONS: &str = "!o";
/// Until when a guest's session, whose content a sign-in has taken over, may still be read.
pub(crate) const RETIRED: &str = "!r";
/// The key of the retired guest's session, until this one is first read.
pub(crate) const GUEST: &str = "!g";
/// The key that forwards to this one, until this one is first read.
pub(crate) const PREDECESSOR: &str = "!p";
/// All that a rotated key holds: the key that took its place, and until when it leads there.
pub(crate) const FORWARD: &str = "!f";
pub(crate) const UNTIL: &str = "!q";
/// All that a mark holds: the session of this key was ended a moment ago.
pub(crate) const ENDED: &str = "!x";

/// How large a session is: its fields and the bytes of their names and values, without the `!` metadata.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) fields: usize,
    pub(crate) bytes: usize,
}

impl Size {
    pub(crate) fn of(fields: &BTreeMap<String, String>) -> Self {
        let own = fields.iter().filter(|(name, _)| !name.starts_with('!'));
        own.fold(Self { fields: 0, bytes: 0 }, |size, (name, value)| Self {
            fields: size.fields + 1,
            bytes: size.bytes + name.len() + value.len(),
        })
    }

    /// A limit refuses only what grows beyond it: a session that is above it already may shrink.
    pub(crate) fn fits(self, before: Option<Self>, rules: &Rules) -> bool {
        let before = before.unwrap_or_default();
        (self.fields <= rules.max_fields || self.fields <= before.fields)
            && (self.bytes <= rules.max_bytes || self.bytes <= before.bytes)
    }
}

/// The key of a session: all keys with the same prefix share a slot of a Cluster. Holds no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// The same for all sessions of one user.
    pub prefix: String,
    /// Tells them apart: a digest of the cookie's secret.
    pub member: String,
}

impl SessionKey {
    /// The whole key.
    pub fn full(&self) -> String {
        [self.prefix.as_str(), &self.member].concat()
    }

    /// Tells sessions apart in a trace: the beginning of a digest, by which nothing is found.
    pub(crate) fn short(&self) -> &str {
        self.member.get(..8).unwrap_or_default()
    }

    /// The key of this text: a digest has no colon.
    pub(crate) fn of(full: &str) -> Option<Self> {
        let (prefix, member) = full.split_at_checked(full.rfind(':')? + 1)?;
        Some(Self { prefix: prefix.to_owned(), member: member.to_owned() })
    }

    /// The key of this text, if it has the same prefix.
    pub(crate) fn sibling(&self, full: &str) -> Option<Self> {
        let member = full.strip_prefix(&self.prefix)?.to_owned();
        Some(Self { prefix: self.prefix.clone(), member })
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

/// A session as it is stored: fields and `!` metadata.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record(pub BTreeMap<String, String>);

impl Record {
    /// How often it was changed.
    pub fn version(&self) -> u64 {
        self.number(VERSION)
    }

    /// When it was created, in milliseconds since the Unix epoch by the store's clock.
    pub fn created_ms(&self) -> u64 {
        self.number(CREATED)
    }

    /// Who is signed in.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it cannot be read.
    pub fn user(&self) -> Result<Option<Principal>> {
        let Some(text) = self.0.get(USER) else { return Ok(None) };
        let (tenant, user): (String, String) = serde_json::from_str(text).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "a session's user cannot be read").with_source(error)
        })?;
        Ok(Some(Principal::user(user).tenant(tenant)))
    }

    /// The id that the session keeps when it is rotated.
    pub fn lineage(&self) -> Option<&str> {
        self.0.get(LINEAGE).map(String::as_str)
    }

    /// Whether it is a session that may be changed: no former key, no mark, and not taken over.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.contains_key(DEADLINE) && !self.0.contains_key(RETIRED)
    }

    /// How long it lives without a request.
    pub(crate) fn idle(&self, rules: &Rules) -> Duration {
        self.0.get(IDLE).and_then(|text| text.parse().ok()).map_or(rules.idle, Duration::from_millis)
    }

    /// The bytes of its fields' names and values, without metadata.
    pub(crate) fn bytes(&self) -> usize {
        self.size().bytes
    }

    pub(crate) fn size(&self) -> Size {
        Size::of(&self.0)
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.0.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

// Shows how many fields, not what they hold.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({} fields)", self.0.len())
    }
}
