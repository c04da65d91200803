//! A lane that this consumer owns: what was read of it, what is in work, what is set aside.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};
use uuid::Uuid;

use crate::{
    Delivered,
    consumer::{Backoff, Verdict},
};

/// The longest pause before an event that was set aside is tried again.
const RETRY: Duration = Duration::from_secs(4);

/// Which lane: database and number.
pub(super) type Name = (Arc<str>, u8);

/// A stream id, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryId(u64, u64);

impl EntryId {
    pub(super) const ZERO: Self = Self(0, 0);

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('-')?;
        Some(Self(high.parse().ok()?, low.parse().ok()?))
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// One owned lane.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) stream: String,
    pub(super) owner: String,
    /// The last entry that the group was given; later ones wake the reader.
    pub(super) last: EntryId,
    /// While set: entries after it that were read before are read again.
    pub(super) history: Option<EntryId>,
    /// Whether there may be new entries.
    pub(super) ready: bool,
    /// To be given up when nothing is in work any more.
    pub(super) leaving: bool,
    /// Every entry that was read and is not acknowledged.
    open: HashMap<EntryId, Option<AbortHandle>>,
    acks: Vec<EntryId>,
    aside: HashMap<String, Aside>,
    /// Events that are in the list for people to see.
    noted: HashSet<Uuid>,
}

/// The events of a key that was set aside.
#[derive(Debug, Default)]
struct Aside {
    events: BTreeMap<EntryId, Arc<Delivered>>,
    due: Option<Instant>,
}

/// What is to be told to Redis about a verdict.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// Nothing but the acknowledgement.
    Nothing,
    /// That the event was set aside.
    Parked { reason: String, retry: bool },
    /// That it no longer is.
    Unparked,
}

impl Owned {
    pub(super) fn new(stream: String, owner: String) -> Self {
        Self {
            stream,
            owner,
            last: EntryId::ZERO,
            history: Some(EntryId::ZERO),
            ready: true,
            leaving: false,
            open: HashMap::new(),
            acks: Vec::new(),
            aside: HashMap::new(),
            noted: HashSet::new(),
        }
    }

    /// Entries that are held in memory.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether the handler has nothing of this lane.
    pub(super) fn at_rest(&self) -> bool {
        self.open.values().all(Option::is_none)
    }

    /// Notes an entry as read; `false` if it is held already.
    pub(super) fn admit(&mut self, entry: EntryId) -> bool {
        let new = !self.open.contains_key(&entry);
        self.open.entry(entry).or_insert(None);
        new
    }

    /// Whether the event has to wait behind others of its key that were set aside; it is put there then.
    pub(super) fn waits(&mut self, entry: EntryId, event: &Arc<Delivered>) -> bool {
        let Some(aside) = self.aside.get_mut(event.key()) else { return false };
        aside.events.insert(entry, Arc::clone(event));
        true
    }

    pub(super) fn in_work(&mut self, entry: EntryId, task: AbortHandle) {
        self.open.insert(entry, Some(task));
    }

    /// Takes note of how an event left the handler.
    pub(super) fn ended(&mut self, entry: EntryId, event: &Arc<Delivered>, verdict: Verdict) -> Tell {
        let Some(task) = self.open.get_mut(&entry) else { return Tell::Nothing };
        *task = None;
        match verdict {
            Verdict::Done => {
                self.acks.push(entry);
                // Those behind it have their turn.
                if let Some(aside) = self.aside.get_mut(event.key()) {
                    aside.due = Some(Instant::now());
                }
                if self.noted.remove(&event.id()) { Tell::Unparked } else { Tell::Nothing }
            }
            Verdict::Parked { reason, retry } => {
                let aside = self.aside.entry(event.key().to_owned()).or_default();
                aside.events.insert(entry, Arc::clone(event));
                aside.due = retry.then(|| Instant::now() + Backoff::new(RETRY, RETRY).pause());
                self.noted.insert(event.id());
                Tell::Parked { reason, retry }
            }
            Verdict::Behind => {
                self.aside.entry(event.key().to_owned()).or_default().events.insert(entry, Arc::clone(event));
                Tell::Nothing
            }
            Verdict::Stopped => {
                self.open.remove(&entry);
                self.history = Some(EntryId::ZERO);
                Tell::Nothing
            }
        }
    }

    /// Takes out what was set aside and is due, each key's events in order.
    pub(super) fn take_due(&mut self) -> Vec<(EntryId, Arc<Delivered>)> {
        let now = Instant::now();
        let due = self.aside.extract_if(|_, aside| aside.due.is_some_and(|due| due <= now));
        due.flat_map(|(_, aside)| aside.events).collect()
    }

    /// When something that was set aside is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.aside.values().filter_map(|aside| aside.due).min()
    }

    /// The first event of each key that is not tried again by itself.
    pub(super) fn stuck(&self) -> Vec<(String, Uuid)> {
        let stuck = self.aside.iter().filter(|(_, aside)| aside.due.is_none());
        stuck
            .filter_map(|(key, aside)| Some((key.clone(), aside.events.first_key_value()?.1.id())))
            .filter(|(_, id)| self.noted.contains(id))
            .collect()
    }

    pub(super) fn redrive(&mut self, key: &str) {
        if let Some(aside) = self.aside.get_mut(key) {
            aside.due = Some(Instant::now());
        }
    }

    pub(super) fn acks(&self) -> &[EntryId] {
        &self.acks
    }

    /// The first `count` acknowledgements have reached Redis.
    pub(super) fn acknowledged(&mut self, count: usize) {
        for entry in self.acks.drain(..count) {
            self.open.remove(&entry);
        }
    }

    /// Ends what is in work: the lane is another's.
    pub(super) fn abandon(&self) {
        self.open.values().flatten().for_each(AbortHandle::abort);
    }
}
