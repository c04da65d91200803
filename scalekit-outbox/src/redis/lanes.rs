//! A lane that this consumer owns: what was read of it, what is in work, what is set aside.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{task::AbortHandle, time::Instant};
use uuid::Uuid;

use super::{entry::EntryId, parked::Note};
use crate::{
    Delivered,
    consumer::{Backoff, Keys, Lease, Verdict},
};

/// The longest pause before an event that was set aside is tried again.
const RETRY: Duration = Duration::from_secs(4);
/// The bounds of the pause after a failure of the lane's Redis.
const FAILED_PAUSE: Duration = Duration::from_millis(250);
const FAILED_LONGEST: Duration = Duration::from_secs(2);
/// How many of those that wait behind one in work are kept whole; of the others only the entry is remembered.
const KEPT_WHOLE: usize = 16;
/// Most entries of a lane that are remembered without being acknowledged; at the bound the lane is read no further.
const OPEN: usize = 100_000;

/// Which lane: database and number.
pub(super) type Name = (Arc<str>, u8);

/// One owned lane.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) stream: String,
    pub(super) owner: String,
    /// Which ownership this is, among all of this consumer.
    pub(super) term: u64,
    pub(super) lease: Lease,
    /// The last entry that the group was given; later ones wake the reader.
    pub(super) last: EntryId,
    /// While set: entries after it that were read before are read again.
    pub(super) history: Option<EntryId>,
    /// Whether there may be new entries.
    pub(super) ready: bool,
    /// To be given up when nothing is in work any more.
    pub(super) leaving: bool,
    /// Entries whose turn has come and that must be read again first.
    pub(super) recalled: Vec<(EntryId, String)>,
    pub(super) acks: Vec<EntryId>,
    /// To be acknowledged when the list has been told of them.
    untold: Vec<EntryId>,
    /// When the list is to be told again after a failure.
    tell_again: Instant,
    tell_failed: Backoff,
    /// Every entry that was read and is not acknowledged.
    open: HashMap<EntryId, Option<AbortHandle>>,
    keys: Keys<String, Held>,
    aside: HashMap<String, Aside>,
    /// What the list for people to see does not say yet; `None` for what it must no longer say. It is told before
    /// an entry is acknowledged, which nobody looks at again.
    pub(super) notes: HashMap<Uuid, Option<Note>>,
    /// Entries whose events are in that list, or may be: those that were read before.
    noted: HashMap<EntryId, Uuid>,
    failed: Backoff,
    again: Instant,
}

/// An entry that has been read; its event may have been let go of.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) entry: EntryId,
    pub(super) event: Option<Arc<Delivered>>,
}

/// An event that the handler is to have now.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) entry: EntryId,
    pub(super) event: Arc<Delivered>,
}

/// When a key that was set aside is due, and its first event.
#[derive(Debug)]
struct Aside {
    first: Uuid,
    due: Option<Instant>,
}

impl Owned {
    pub(super) fn new(stream: String, owner: String, term: u64, lease: Lease) -> Self {
        Self {
            stream,
            owner,
            term,
            lease,
            last: EntryId::ZERO,
            history: Some(EntryId::ZERO),
            ready: true,
            leaving: false,
            recalled: Vec::new(),
            acks: Vec::new(),
            untold: Vec::new(),
            tell_again: Instant::now(),
            tell_failed: Backoff::new(FAILED_PAUSE, FAILED_LONGEST),
            open: HashMap::new(),
            keys: Keys::default(),
            aside: HashMap::new(),
            notes: HashMap::new(),
            noted: HashMap::new(),
            failed: Backoff::new(FAILED_PAUSE, FAILED_LONGEST),
            again: Instant::now(),
        }
    }

    /// Entries that are remembered.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether it is to be read.
    pub(super) fn is_hungry(&self) -> bool {
        !self.leaving && (self.ready || self.history.is_some()) && self.open.len() < OPEN
    }

    /// Whether Redis can be asked to say when there is more; `room` as it is for reading.
    pub(super) fn may_wait(&self, room: bool) -> bool {
        !self.leaving && self.may_try() && self.open.len() < OPEN && (room || !self.ready)
    }

    /// Whether the handler has nothing of this lane, and Redis has heard of all that it had.
    pub(super) fn is_at_rest(&self) -> bool {
        self.acks.is_empty() && self.open.values().all(Option::is_none)
    }

    /// Notes an entry as read; `false` if it is remembered already.
    pub(super) fn admit(&mut self, entry: EntryId) -> bool {
        let new = !self.open.contains_key(&entry);
        self.open.entry(entry).or_insert(None);
        new
    }

    /// Takes an event in, which may have been set aside before if it is read `again`; given back if its turn is now.
    pub(super) fn arrive(&mut self, entry: EntryId, event: Arc<Delivered>, again: bool) -> Option<Turn> {
        if again {
            self.noted.insert(entry, event.id());
        }
        let key = event.key().to_owned();
        let aside = self.aside.contains_key(&key);
        let whole = !aside && self.keys.waiting(&key).len() < KEPT_WHOLE;
        if !whole {
            let _waits = self.keys.arrive(key, Held { entry, event: None });
            return None;
        }
        let turn = self.keys.arrive(key.clone(), Held { entry, event: Some(event) });
        self.turn(key, turn)
    }

    pub(super) fn in_work(&mut self, entry: EntryId, task: AbortHandle) {
        self.open.insert(entry, Some(task));
    }

    /// Takes note of how an event left the handler, and gives the next of its key.
    pub(super) fn ended(&mut self, entry: EntryId, event: &Delivered, verdict: Verdict) -> Option<Turn> {
        if let Some(task) = self.open.get_mut(&entry) {
            *task = None;
        }
        let key = event.key().to_owned();
        match verdict {
            Verdict::Done => {
                self.finish(entry);
                let next = self.keys.done(&key);
                self.turn(key, next)
            }
            Verdict::Parked { reason, retry } => {
                self.keys.set_aside(&key, Held { entry, event: None });
                self.keys.waiting(&key).iter_mut().for_each(|held| held.event = None);
                let due = retry.then(|| Instant::now() + Backoff::new(RETRY, RETRY).pause());
                self.aside.insert(key, Aside { first: event.id(), due });
                self.notes.insert(event.id(), Some(Note::new(event, &reason, retry)));
                self.noted.insert(entry, event.id());
                None
            }
            Verdict::Stopped => {
                // It and those behind it are read again, in order.
                self.open.remove(&entry);
                for held in self.keys.forget(&key) {
                    self.open.remove(&held.entry);
                }
                self.history = Some(EntryId::ZERO);
                None
            }
        }
    }

    /// An entry is no longer in its stream: nobody can deal with it.
    pub(super) fn lost(&mut self, entry: EntryId, key: Option<String>) -> Option<Turn> {
        self.finish(entry);
        let key = key?;
        let next = self.keys.done(&key);
        self.turn(key, next)
    }

    /// Those whose event is to be read again now: whose turn has come, and some that are next.
    pub(super) fn recalls(&mut self, most: usize) -> Vec<EntryId> {
        let mut entries: Vec<EntryId> = self.recalled.iter().take(most).map(|(entry, _)| *entry).collect();
        for (_, key) in self.recalled.iter().take(most) {
            let room = most.saturating_sub(entries.len()).min(KEPT_WHOLE);
            entries.extend(self.keys.waiting(key).iter().take(room).map(|held| held.entry));
        }
        entries
    }

    /// The key whose turn it is with this entry, which is no longer waited for.
    pub(super) fn not_recalled(&mut self, entry: EntryId) -> Option<String> {
        let place = self.recalled.iter().position(|(recalled, _)| *recalled == entry)?;
        Some(self.recalled.swap_remove(place).1)
    }

    /// Takes an event back in that was read again; given back if its turn is now.
    pub(super) fn recall(&mut self, entry: EntryId, event: Arc<Delivered>) -> Option<Turn> {
        if self.not_recalled(entry).is_some() {
            return Some(Turn { entry, event });
        }
        let waiting = self.keys.waiting(&event.key().to_owned());
        if let Some(held) = waiting.iter_mut().find(|held| held.entry == entry) {
            held.event = Some(event);
        }
        None
    }

    /// Puts the first event of each key that is due in work; their events are to be read again.
    pub(super) fn resume_due(&mut self) {
        let now = Instant::now();
        for (key, _) in self.aside.extract_if(|_, aside| aside.due.is_some_and(|due| due <= now)) {
            if let Some(held) = self.keys.resume(&key) {
                self.recalled.push((held.entry, key));
            }
        }
    }

    /// When there is something to do by itself.
    pub(super) fn next_due(&self, room: bool) -> Option<Instant> {
        let due = self.aside.values().filter_map(|aside| aside.due).min();
        let work = !self.recalled.is_empty() || !self.acks.is_empty() || (room && self.is_hungry());
        let again = work.then_some(self.again);
        let due = due.into_iter().chain((!self.notes.is_empty()).then_some(self.tell_again));
        due.chain(again).min().map(|at| at.max(self.again))
    }

    /// The first event of each key that is not tried again by itself and is in the list.
    pub(super) fn stuck(&self) -> Vec<(String, Uuid)> {
        if !self.notes.is_empty() {
            // What is not on the list yet has not been taken off it.
            return Vec::new();
        }
        let stuck = self.aside.iter().filter(|(_, aside)| aside.due.is_none());
        stuck.map(|(key, aside)| (key.clone(), aside.first)).collect()
    }

    pub(super) fn redrive(&mut self, key: &str) {
        if let Some(aside) = self.aside.get_mut(key) {
            aside.due = Some(Instant::now());
        }
    }

    /// Whether the list is to be told something now.
    pub(super) fn may_tell(&self) -> bool {
        !self.notes.is_empty() && self.tell_again <= Instant::now()
    }

    /// The list says all of it: what waited for that can be acknowledged.
    pub(super) fn told(&mut self) {
        self.notes.clear();
        self.acks.append(&mut self.untold);
        self.tell_failed = Backoff::new(FAILED_PAUSE, FAILED_LONGEST);
    }

    /// The list could not be told, which keeps nothing else waiting.
    pub(super) fn not_told(&mut self) {
        self.tell_again = Instant::now() + self.tell_failed.pause();
    }

    /// The first `count` acknowledgements have reached Redis.
    pub(super) fn acknowledged(&mut self, count: usize) {
        for entry in self.acks.drain(..count) {
            self.open.remove(&entry);
        }
    }

    /// Redis does not answer for this lane: it is left alone for a moment.
    pub(super) fn fail(&mut self) {
        self.again = Instant::now() + self.failed.pause();
        // A reply that was lost may have held entries.
        self.history = Some(EntryId::ZERO);
    }

    pub(super) fn succeed(&mut self) {
        self.failed = Backoff::new(FAILED_PAUSE, FAILED_LONGEST);
    }

    pub(super) fn may_try(&self) -> bool {
        self.again <= Instant::now()
    }

    /// Ends what is in work: the lane is another's.
    pub(super) fn abandon(&self) {
        self.open.values().flatten().for_each(AbortHandle::abort);
    }

    /// Nothing more is to be done for an entry.
    fn finish(&mut self, entry: EntryId) {
        match self.noted.remove(&entry) {
            None => self.acks.push(entry),
            Some(event) => {
                self.notes.insert(event, None);
                self.untold.push(entry);
            }
        }
    }

    fn turn(&mut self, key: String, next: Option<Held>) -> Option<Turn> {
        let Held { entry, event } = next?;
        match event {
            Some(event) => Some(Turn { entry, event }),
            None => {
                self.recalled.push((entry, key));
                None
            }
        }
    }
}
