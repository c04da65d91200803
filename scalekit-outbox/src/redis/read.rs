//! Reading entries as the owner of their lane.

use std::sync::Arc;

use scalekit_core::{Result, redis::Script};
use tokio::time::Instant;

use super::{
    entry,
    feed::Reader,
    lanes::{EntryId, Name, Owned},
};
use crate::{Delivered, Lane};

static READ: Script = Script::new(include_str!("../lua/read.lua"));

/// Most entries of one read.
const READ_COUNT: usize = 64;
/// Most events in work or waiting for their turn, and most with those that were set aside.
const IN_WORK: usize = 1024;
const IN_MEMORY: usize = 10_000;

/// An entry's id, and its field names and values in turn.
type Found = (String, Vec<Vec<u8>>);

impl Reader<'_> {
    /// Reads every lane that may have entries, as far as there is room.
    pub(super) async fn read(&mut self) -> Result<()> {
        if self.feed.streams.redis.is_cluster() {
            self.lanes.values_mut().for_each(|lane| lane.ready = true);
        }
        let names: Vec<Name> = self.lanes.keys().cloned().collect();
        for name in names {
            while self.has_room() && self.held > Instant::now() {
                let Some(lane) = self.lanes.get(&name) else { break };
                if lane.leaving || !(lane.ready || lane.history.is_some()) || !self.read_lane(&name).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// One read of one lane; whether there may be more.
    async fn read_lane(&mut self, name: &Name) -> Result<bool> {
        let Some(lane) = self.lanes.get_mut(name) else { return Ok(false) };
        let from = lane.history.map_or_else(|| ">".to_owned(), |after| after.to_string());
        let call = READ.key(&lane.owner).key(&lane.stream).arg(&self.feed.id);
        let call = call.arg(&*self.feed.streams.group).arg(READ_COUNT).arg(from);
        let (owned, last, found): (u8, String, Vec<Found>) = self.feed.streams.redis.run(&call).await?;
        if owned == 0 {
            lane.abandon();
            self.lanes.remove(name);
            return Ok(false);
        }
        lane.last = EntryId::parse(&last).unwrap_or(lane.last);
        let full = found.len() == READ_COUNT;
        match lane.history {
            Some(_) if full => {
                lane.history = found.last().and_then(|(id, _)| EntryId::parse(id));
            }
            Some(_) => (lane.history, lane.ready) = (None, true),
            None => lane.ready = full,
        }
        for (id, fields) in found {
            self.take_in(name, &id, fields);
        }
        Ok(self.lanes.get(name).is_some_and(|lane| lane.ready || lane.history.is_some()))
    }

    fn take_in(&mut self, name: &Name, id: &str, fields: Vec<Vec<u8>>) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let Some(place) = EntryId::parse(id) else { return };
        if !lane.admit(place) {
            return;
        }
        match entry::record(id, fields) {
            Ok(record) => {
                let event = Arc::new(Delivered::new(&Lane::new(Arc::clone(&name.0), name.1, 0), record));
                if !lane.waits(place, &event) {
                    self.hand_over(name, place, event);
                }
            }
            // It stays unacknowledged: nobody can deal with it, and it must not vanish.
            Err(error) => tracing::error!(stream = lane.stream, entry = id, ?error, "an entry is left alone"),
        }
    }

    fn has_room(&self) -> bool {
        let open: usize = self.lanes.values().map(Owned::open).sum();
        self.tasks.len() < IN_WORK && open < IN_MEMORY
    }
}
