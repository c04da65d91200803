//! What the memory store holds under its lock, by the same rules as the scripts of Redis.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use scalekit_core::OperationId;
use tokio::sync::broadcast;

use crate::store::{
    Change, Ending, MARK, RETIREMENT, Record, Rules, Told,
    record::{DEADLINE, ENDED, FORWARD, INDEX, RETIRED, UNTIL},
};

/// Operations that a session remembers.
const OPERATIONS: usize = 16;
/// Characters of an operation's id.
const OPERATION: usize = 32;
/// Tidings that one who listens may be behind.
const TOLD: usize = 1_024;
/// Rotations of one session that are followed.
const ROTATIONS: usize = 16;
/// Above it, Lua does not count exactly.
const MAX_NUMBER: u64 = 1_000_000_000_000_000;
/// Expired sessions are swept when this many have been created since.
const SWEEP_EVERY: usize = 1_024;

pub(super) struct State {
    sessions: HashMap<String, Entry>,
    indexes: HashMap<String, BTreeSet<(u64, String)>>,
    created: usize,
    pub(super) told: broadcast::Sender<Told>,
}

impl Default for State {
    fn default() -> Self {
        let told = broadcast::Sender::new(TOLD);
        Self { sessions: HashMap::new(), indexes: HashMap::new(), created: 0, told }
    }
}

pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) expires_ms: u64,
}

/// Where the session of a key is by the rotations since.
pub(super) enum Place {
    At(String),
    /// The grace of one of them is over.
    Past(String),
}

impl Place {
    pub(super) fn into_key(self) -> String {
        match self {
            Self::At(key) | Self::Past(key) => key,
        }
    }
}

impl State {
    pub(super) fn alive(&self, now: u64) -> usize {
        self.sessions.values().filter(|entry| entry.expires_ms > now && entry.is_session()).count()
    }

    /// What is under this key and not past its deadline.
    pub(super) fn there(&mut self, key: &str, now: u64) -> Option<&mut Entry> {
        self.sessions.get_mut(key).filter(|entry| entry.expires_ms > now)
    }

    /// The session of this key.
    pub(super) fn live(&mut self, key: &str, now: u64) -> Option<&mut Entry> {
        self.there(key, now).filter(|entry| entry.is_session())
    }

    /// Follows rotations; with `late` past their grace, too.
    pub(super) fn follow(&mut self, mut key: String, now: u64, late: bool) -> Place {
        for _ in 0..ROTATIONS {
            let Some(record) = self.there(&key, now).map(|entry| &entry.record) else {
                return Place::At(key);
            };
            let Some(next) = record.0.get(FORWARD).cloned() else { return Place::At(key) };
            let over = record.0.contains_key(UNTIL) && now > record.number(UNTIL);
            key = next;
            if over && !late {
                return Place::Past(key);
            }
        }
        Place::Past(key)
    }

    pub(super) fn put(&mut self, key: String, record: Record, expires_ms: u64) {
        self.sessions.insert(key, Entry { record, expires_ms });
    }

    pub(super) fn end(&mut self, key: &str, ending: Ending, now: u64) {
        if ending == Ending::Retire {
            if let Some(entry) = self.there(key, now) {
                let until = (now + ms(RETIREMENT)).to_string();
                entry.record.0.entry(RETIRED.to_owned()).or_insert(until);
                entry.expires_ms = now + ms(MARK);
            }
            return;
        }
        if self.take_away(key) {
            self.tell(Told::Ended(key.to_owned()));
        }
        if ending == Ending::Mark {
            self.put(key.to_owned(), Record([(ENDED.to_owned(), "1".to_owned())].into()), now + ms(MARK));
        }
    }

    /// Removes what is under a key, and its entry in an index; whether it was a session.
    pub(super) fn take_away(&mut self, key: &str) -> bool {
        let Some(entry) = self.sessions.remove(key) else { return false };
        if let Some(index) = entry.record.0.get(INDEX)
            && let Some(members) = self.indexes.get_mut(index)
        {
            let of_key = key.rsplit(':').next();
            members.retain(|(_, member)| Some(member.as_str()) != of_key);
            self.indexes.retain(|_, members| !members.is_empty());
        }
        entry.is_session()
    }

    pub(super) fn tell(&self, told: Told) {
        // Nobody may be listening.
        let _ = self.told.send(told);
    }

    /// Enters a session in an index; the oldest that are too many now.
    #[must_use]
    pub(super) fn enter(
        &mut self,
        index: &str,
        deadline: u64,
        member: &str,
        most: usize,
        now: u64,
    ) -> Vec<String> {
        let members = self.indexes.entry(index.to_owned()).or_default();
        members.retain(|(until, known)| *until >= now && known != member);
        members.insert((deadline, member.to_owned()));
        let over = members.len().saturating_sub(most);
        members.iter().take(over).map(|(_, known)| known.clone()).filter(|known| known != member).collect()
    }

    /// The sessions of an index with their deadlines, the oldest first.
    pub(super) fn members(&self, index: &str) -> BTreeSet<(u64, String)> {
        self.indexes.get(index).cloned().unwrap_or_default()
    }

    pub(super) fn forget(&mut self, index: &str, member: &(u64, String)) {
        if let Some(members) = self.indexes.get_mut(index) {
            members.remove(member);
            if members.is_empty() {
                self.indexes.remove(index);
            }
        }
    }

    /// What Redis does by itself.
    pub(super) fn sweep(&mut self, now: u64) {
        self.created += 1;
        if self.created >= SWEEP_EVERY {
            self.created = 0;
            self.sessions.retain(|_, entry| entry.expires_ms > now);
            self.indexes.retain(|_, members| members.last().is_some_and(|(until, _)| *until >= now));
        }
    }
}

impl Entry {
    /// Whether it is one, and no former key nor mark.
    pub(super) fn is_session(&self) -> bool {
        self.record.0.contains_key(DEADLINE)
    }

    pub(super) fn may_change(&self) -> bool {
        self.record.is_plain()
    }

    /// Moves the idle deadline if that gains a tenth; where it is then.
    pub(super) fn touch(&mut self, rules: &Rules, now: u64) -> Option<u64> {
        let idle = ms(self.record.idle(rules));
        let wanted = (now + idle).min(self.record.number(DEADLINE));
        let gains = self.may_change() && wanted.saturating_sub(self.expires_ms) >= idle / 10;
        gains.then(|| {
            self.expires_ms = wanted;
            wanted
        })
    }
}

/// The remembered operations with this one; `None` if it is one of them, or older than all.
pub(super) fn marked(known: Option<&str>, operation: OperationId) -> Option<String> {
    let (zero, id) = ("0".repeat(OPERATION), operation.to_string());
    let (low, ids) = known.unwrap_or(&zero).split_at_checked(OPERATION)?;
    let mut ids: Vec<&str> =
        ids.as_bytes().chunks(OPERATION).filter_map(|id| std::str::from_utf8(id).ok()).collect();
    if *id <= *low || ids.contains(&id.as_str()) {
        return None;
    }
    ids.push(&id);
    ids.sort_unstable();
    let low = if ids.len() > OPERATIONS { ids.remove(0) } else { low };
    Some([&[low], ids.as_slice()].concat().concat())
}

pub(crate) fn make(fields: &mut BTreeMap<String, String>, change: &Change) {
    match change {
        Change::Set(field, value) | Change::Swap(field, _, Some(value)) => {
            fields.insert(field.clone(), value.clone());
        }
        Change::Append(field, entry, most) => {
            fields.insert(field.clone(), appended(fields.get(field).map(String::as_str), entry, *most));
        }
        Change::Remove(field) | Change::Swap(field, _, None) => {
            fields.remove(field);
        }
        Change::Add(field, by, floor) => {
            let value = fields.get(field).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
            let sum = value.saturating_add(*by);
            if *floor && sum <= 0 {
                fields.remove(field);
            } else {
                fields.insert(field.clone(), sum.to_string());
            }
        }
    }
}

/// A list with one more entry: one a line, the first ones the oldest.
pub(crate) fn appended(list: Option<&str>, entry: &str, most: usize) -> String {
    let lines: Vec<&str> = list.into_iter().flat_map(|list| list.split('\n')).chain([entry]).collect();
    lines[lines.len().saturating_sub(most)..].join("\n")
}

/// Whether the field holds a number, and it, the step and their sum stay within what the Redis script can count.
pub(super) fn adds_up(held: Option<&String>, by: i64) -> bool {
    let counts = |number: &i64| number.unsigned_abs() <= MAX_NUMBER;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = |text: &&String| text.len() <= 17 && digits(text.strip_prefix('-').unwrap_or(text));
    let held = held.map_or(Some(0), |text| Some(text).filter(plain)?.parse().ok());
    held.filter(counts).is_some_and(|held| counts(&by) && counts(&(held + by)))
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
