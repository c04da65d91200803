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
    /// What the nodes of each namespace say, and until when.
    nodes: BTreeMap<(String, String), (u64, String)>,
    pub(super) told: broadcast::Sender<Told>,
}

impl Default for State {
    fn default() -> Self {
        let told = broadcast::Sender::new(TOLD);
        Self { sessions: HashMap::new(), indexes: HashMap::new(), created: 0, nodes: BTreeMap::new(), told }
    }
}

pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) expires_ms: u64,
}

/// Why a former key opens its session no more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The grace of a rotation is over, for so many milliseconds.
    Past(u64),
    /// A rotation left no grace.
    Dead,
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

    /// Where the session of a key is by the rotations since, and why the key opens it no more.
    pub(super) fn follow(&mut self, mut key: String, now: u64) -> (String, Option<Over>) {
        let mut over = None;
        for _ in 0..ROTATIONS {
            let Some(record) = self.there(&key, now).map(|entry| &entry.record) else { return (key, over) };
            let Some(next) = record.0.get(FORWARD).cloned() else { return (key, over) };
            over = over.or(match (record.0.contains_key(ENDED), record.0.contains_key(UNTIL)) {
                (true, _) => Some(Over::Dead),
                (false, true) if now > record.number(UNTIL) => Some(Over::Past(now - record.number(UNTIL))),
                (false, _) => None,
            });
            key = next;
        }
        (key, over)
    }

    /// Moves the idle deadline of a session, and that of the former key by which somebody came, as long as nobody has read
    /// the session by its new one.
    pub(super) fn touch(&mut self, place: &str, came_by: &str, rules: &Rules, now: u64) {
        let Some(expires) = self.there(place, now).and_then(|entry| entry.touch(rules, now)) else { return };
        let unread = |entry: &&mut Entry| place != came_by && !entry.record.0.contains_key(UNTIL);
        if let Some(former) = self.there(came_by, now).filter(unread) {
            former.expires_ms = expires;
        }
    }

    pub(super) fn put(&mut self, key: String, record: Record, expires_ms: u64) {
        self.sessions.insert(key, Entry { record, expires_ms });
    }

    /// Ends the session of a key, if it is there; whether it was.
    pub(super) fn end(&mut self, key: &str, ending: Ending, now: u64) -> bool {
        let Some(entry) = self.live(key, now) else { return false };
        match ending {
            Ending::Retire => {
                let until = (now + ms(RETIREMENT)).to_string();
                entry.record.0.entry(RETIRED.to_owned()).or_insert(until);
                entry.expires_ms = now + ms(MARK);
            }
            Ending::Mark => {
                self.take_away(key);
                self.put(key.to_owned(), Record([(ENDED.to_owned(), "1".to_owned())].into()), now + ms(MARK));
            }
        }
        self.tell(Told::Ended(key.to_owned()));
        true
    }

    /// Removes what is under a key, and its entry in an index.
    pub(super) fn take_away(&mut self, key: &str) {
        let Some(entry) = self.sessions.remove(key) else { return };
        if let Some(index) = entry.record.0.get(INDEX)
            && let Some(members) = self.indexes.get_mut(index)
        {
            let of_key = key.rsplit(':').next();
            members.retain(|(_, member)| Some(member.as_str()) != of_key);
            self.indexes.retain(|_, members| !members.is_empty());
        }
    }

    pub(super) fn tell(&self, told: Told) {
        // Nobody may be listening.
        let _ = self.told.send(told);
    }

    /// Enters a session in an index by the time of its creation.
    pub(super) fn enter(&mut self, index: &str, created: u64, member: &str) {
        self.indexes.entry(index.to_owned()).or_default().insert((created, member.to_owned()));
    }

    /// The live sessions of an index with their times of creation, the oldest first; the others are forgotten.
    pub(super) fn members(&mut self, index: &str, prefix: &str, now: u64) -> BTreeSet<(u64, String)> {
        let mut members = self.indexes.remove(index).unwrap_or_default();
        members.retain(|(_, member)| self.live(&[prefix, member].concat(), now).is_some());
        if !members.is_empty() {
            self.indexes.insert(index.to_owned(), members.clone());
        }
        members
    }

    /// What the other nodes of a namespace say.
    pub(super) fn meet(
        &mut self,
        namespace: &str,
        node: &str,
        says: &str,
        till: u64,
        now: u64,
    ) -> Vec<String> {
        self.nodes.retain(|_, (till, _)| *till >= now);
        self.nodes.insert((namespace.to_owned(), node.to_owned()), (till, says.to_owned()));
        let others = self.nodes.iter().filter(|((of, who), _)| of == namespace && who != node);
        others.map(|(_, (_, says))| says.clone()).collect()
    }

    /// What Redis does by itself.
    pub(super) fn sweep(&mut self, now: u64) {
        self.created += 1;
        if self.created >= SWEEP_EVERY {
            self.created = 0;
            self.sessions.retain(|_, entry| entry.expires_ms > now);
            let known: BTreeSet<&str> =
                self.sessions.keys().filter_map(|key| key.rsplit(':').next()).collect();
            self.indexes.retain(|_, members| {
                members.retain(|(_, member)| known.contains(member.as_str()));
                !members.is_empty()
            });
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
