//! What a store is asked for, and what it answers.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{Record, Rules, SessionKey, record::Size};
use crate::field::SEPARATOR;

/// One change of a stored field.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Change {
    /// Writes it.
    #[serde(rename = "s")]
    Set(String, String),
    /// Removes it.
    #[serde(rename = "r")]
    Remove(String),
    /// Adds to its number; with `true`, removes it if that is 0 or less.
    #[serde(rename = "a")]
    Add(String, i64, bool),
    /// Appends an entry, which has no line break in it; keeps the newest so many.
    #[serde(rename = "l")]
    Append(String, String, usize),
    /// Only if it still holds the first value: writes the second one, or removes it.
    #[serde(rename = "c")]
    Swap(String, Option<String>, Option<String>),
}

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Loaded {
    /// A session.
    Live(Record),
    /// A session that was rotated, and the key that it has now.
    Forwarded {
        /// Its key.
        at: SessionKey,
        /// What it holds.
        record: Record,
        /// Whether nobody has read it by that key yet: the secret may not have arrived.
        unread: bool,
    },
    /// A session that was ended a moment ago.
    Ended,
    /// The former key of a session that was rotated, whose holder has or had the new one: somebody else has this one
    /// too.
    Reused {
        /// The key that the session has now.
        at: SessionKey,
        /// What it holds.
        record: Record,
        /// For how long the grace has been over.
        since: Duration,
    },
    /// Nothing: it expired or never was, or was ended more than a minute ago.
    Missing,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Committed {
    /// All changes were made.
    Done,
    /// The operation had been applied before; nothing was changed.
    Before,
    /// There is no such session: it expired, or was lost; nothing was changed.
    Missing,
    /// It was ended a moment ago; nothing was changed.
    Ended,
    /// A field to be swapped holds another value; nothing was changed. The session as it is now.
    Conflict(Record),
    /// The session would pass a limit of the [`Rules`]; nothing was changed.
    Full,
    /// A field to be added to holds no number, or a number would pass 10^15; nothing was changed.
    NotANumber,
}

/// A session to be created.
#[derive(Clone)]
pub struct Creation {
    /// Where.
    pub key: SessionKey,
    /// Fields and metadata, without version, time of creation and deadline.
    pub fields: BTreeMap<String, String>,
    /// How long it lives without a request.
    pub idle: Duration,
    /// How long it lives at most.
    pub absolute: Duration,
    /// The index of its user.
    pub index: Option<String>,
    /// The session that it replaces.
    pub replaces: Option<Replaced>,
    /// Whether it may overwrite a session of the same key: one that this very caller has just created.
    pub again: bool,
}

/// A session that gives way to a new one.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// Where it is; in a Cluster, under the prefix of the new one.
    pub key: SessionKey,
    /// The version it was read in; `None` to end it whatever it holds.
    pub version: Option<u64>,
    /// How it ends.
    pub ending: Ending,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// For a minute its key tells that it was ended and did not expire.
    Mark,
    /// For 30 s it can be read and not changed; then, as `Mark`.
    Retire,
}

/// What a rotation leaves under the former key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Successor {
    /// Where the session is now.
    Forwarded,
    /// The same, for changes that a transaction has committed; for all else the former key is dead at once.
    Alone,
}

/// What became of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Rotated {
    /// The session has its new key.
    Done,
    /// It had been rotated before; the key that it got then.
    Forwarded(SessionKey),
    /// There is no such session, or its content was taken over.
    Gone,
}

impl Creation {
    pub(crate) fn fits(&self, rules: &Rules) -> bool {
        Size::of(&self.fields).fits(None, rules)
    }
}

/// What became of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Created {
    /// It is there, and the replaced one is not.
    Done,
    /// The key is taken; nothing was changed.
    Taken,
    /// The session to be replaced has changed; nothing was written. The session as it is now, empty if it has ended.
    Changed(Record),
    /// The session would pass a limit of the [`Rules`]; nothing was written.
    Full,
}

/// What became of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Removed {
    /// It was there and is not any more.
    Done,
    /// It was not there, or its content had been taken over.
    Gone,
    /// It has another version and is still there.
    Changed(Record),
}

/// What those who watch sessions are told.
#[derive(Clone, PartialEq, Eq)]
pub enum Told {
    /// The session of this key was signed out, revoked, replaced or removed.
    Ended(String),
    /// The session of the first key has the second one now.
    Moved(String, String),
    /// Any number of them may have ended or moved unheard; those that are watched are to be looked at.
    Gap,
}

/// A session in a user's index.
#[derive(Clone, PartialEq, Eq)]
pub struct Listed {
    /// The last part of its key.
    pub member: String,
    /// When it was created, in milliseconds since the Unix epoch by the store's clock.
    pub created_ms: u64,
    /// What the user signed in from.
    pub device: String,
    /// Its [`lineage`](Record::lineage).
    pub lineage: String,
}

// None of these shows what a session holds, where it is, or who has it.

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, field) = match self {
            Self::Set(field, _) => ("Set", field),
            Self::Remove(field) => ("Remove", field),
            Self::Add(field, ..) => ("Add", field),
            Self::Append(field, ..) => ("Append", field),
            Self::Swap(field, ..) => ("Swap", field),
        };
        // The name that the application has declared, without a map's member.
        let declared = field.split(SEPARATOR).next().unwrap_or_default();
        f.debug_tuple(verb).field(&declared).finish()
    }
}

impl fmt::Debug for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fields, idle, absolute, replaces, again, .. } = self;
        f.debug_struct("Creation")
            .field("fields", &fields.len())
            .field("idle", idle)
            .field("absolute", absolute)
            .field("replaces", replaces)
            .field("again", again)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended(_) => "Ended(..)",
            Self::Moved(..) => "Moved(..)",
            Self::Gap => "Gap",
        })
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed").field("created_ms", &self.created_ms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_session_holds_is_shown() {
        let text = || "hidden".to_owned();
        let key = || SessionKey { prefix: text(), member: text() };
        let record = || Record([(text(), text())].into());
        let replaced = Replaced { key: key(), version: None, ending: Ending::Mark };
        let creation = Creation {
            key: key(),
            fields: record().0,
            idle: Duration::ZERO,
            absolute: Duration::ZERO,
            index: Some(text()),
            replaces: Some(replaced),
            again: false,
        };
        let shown = format!(
            "{:?} {creation:?} {:?} {:?} {:?} {:?} {:?}",
            [
                Change::Set("f:hidden".to_owned(), text()),
                Change::Remove("f:hidden".to_owned()),
                Change::Append("f".to_owned(), text(), 1),
                Change::Swap("f".to_owned(), Some(text()), Some(text())),
            ],
            [Loaded::Live(record()), Loaded::Reused { at: key(), record: record(), since: Duration::ZERO }],
            Committed::Conflict(record()),
            [Told::Ended(text()), Told::Moved(text(), text())],
            Rotated::Forwarded(key()),
            Listed { member: text(), created_ms: 1, device: text(), lineage: text() },
        );
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(shown.contains(r#"Set("f")"#), "{shown}");
    }
}
