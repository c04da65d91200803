//! What one lane needs of Redis, and what it gives: acknowledgements, entries to read again, new entries.

use std::sync::Arc;

use scalekit_core::{
    Result,
    redis::{Script, cmd, pipe},
};

use super::{
    entry::{self, EntryId},
    feed::Feed,
    lanes::{Name, Owned, Turn},
};
use crate::{Delivered, Lane};

static READ: Script = Script::new(include_str!("../lua/read.lua"));

/// Most entries of one read.
const READ_COUNT: usize = 64;

/// An entry's id, and its field names and values in turn; without any if it is no longer in the stream.
type Found = (String, Vec<Vec<u8>>);

impl Feed {
    /// Does what the lane has to do, new entries only if there is `room`; `false` if it is another's.
    ///
    /// What has its turn is in `turns` also when this fails half-way. Round trips: at most 4.
    pub(super) async fn serve(
        &self,
        name: &Name,
        lane: &mut Owned,
        room: bool,
        turns: &mut Vec<Turn>,
    ) -> Result<bool> {
        self.tell(lane).await;
        self.acknowledge(lane).await?;
        self.recall(name, lane, turns).await?;
        if room && lane.is_hungry() { self.read(name, lane, turns).await } else { Ok(true) }
    }

    /// Says in the list of parked events what it does not say yet.
    async fn tell(&self, lane: &mut Owned) {
        if !lane.may_tell() {
            return;
        }
        match self.streams.tell(&lane.notes).await {
            Ok(()) => lane.told(),
            Err(error) => {
                tracing::warn!(
                    stream = lane.stream,
                    ?error,
                    "the list of parked events cannot be written now"
                );
                lane.not_told();
            }
        }
    }

    async fn acknowledge(&self, lane: &mut Owned) -> Result<()> {
        if lane.acks.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = lane.acks.iter().map(EntryId::to_string).collect();
        let mut ack = cmd("XACK");
        ack.arg(&lane.stream).arg(&*self.streams.group).arg(&ids);
        let _known: u64 = self.streams.redis.query(&ack).await?;
        lane.acknowledged(ids.len());
        Ok(())
    }

    /// Reads entries again of which only the place was remembered.
    async fn recall(&self, name: &Name, lane: &mut Owned, turns: &mut Vec<Turn>) -> Result<()> {
        let entries = lane.recalls(READ_COUNT);
        if entries.is_empty() {
            return Ok(());
        }
        let mut ranges = pipe();
        for entry in &entries {
            ranges.cmd("XRANGE").arg(&lane.stream).arg(entry.to_string()).arg(entry.to_string());
        }
        let found: Vec<Vec<Found>> = self.streams.redis.pipeline(&ranges).await?;
        for (entry, found) in entries.into_iter().zip(found) {
            let fields = found.into_iter().next().map(|(_, fields)| fields).unwrap_or_default();
            let turn = match entry::record(entry, fields) {
                Ok(record) => lane.recall(entry, delivered(name, record)),
                Err(error) => {
                    let was_due = lane.not_recalled(entry);
                    if was_due.is_some() {
                        tracing::error!(stream = lane.stream, %entry, ?error, "an entry is no longer there");
                    }
                    was_due.and_then(|key| lane.lost(entry, Some(key)))
                }
            };
            turns.extend(turn);
        }
        Ok(())
    }

    async fn read(&self, name: &Name, lane: &mut Owned, turns: &mut Vec<Turn>) -> Result<bool> {
        let again = lane.history.is_some();
        let from = lane.history.map_or_else(String::new, |after| after.to_string());
        let call = READ.key(&lane.owner).key(&lane.stream).arg(&self.id);
        let call = call.arg(&*self.streams.group).arg(READ_COUNT).arg(from).arg(lane.last.to_string());
        let (owned, last, found): (u8, String, Vec<Found>) = self.streams.redis.run(&call).await?;
        match owned {
            0 => return Ok(false),
            2 => {
                // A call of ours that was given up has run after all, and nobody has seen what it read.
                lane.history = Some(EntryId::ZERO);
                return Ok(true);
            }
            _ => lane.last = EntryId::parse(&last).unwrap_or(lane.last),
        }
        let full = found.len() == READ_COUNT;
        match lane.history {
            Some(_) if full => {
                lane.history = found.last().and_then(|(id, _)| EntryId::parse(id));
            }
            Some(_) => (lane.history, lane.ready) = (None, true),
            None => lane.ready = full,
        }
        for (id, fields) in found {
            let Some(entry) = EntryId::parse(&id) else { continue };
            if lane.admit(entry) {
                turns.extend(take_in(name, lane, entry, fields, again));
            }
        }
        Ok(true)
    }
}

/// Takes an entry in; `again` if somebody may have had it before.
fn take_in(name: &Name, lane: &mut Owned, entry: EntryId, fields: Vec<Vec<u8>>, again: bool) -> Option<Turn> {
    if fields.is_empty() {
        // Deleted or trimmed before it was acknowledged: there is nothing left to deal with.
        tracing::error!(stream = lane.stream, %entry, "an entry is no longer there");
        return lane.lost(entry, None);
    }
    match entry::record(entry, fields) {
        Ok(record) => lane.arrive(entry, delivered(name, record), again),
        Err(error) => {
            // It stays unacknowledged: nobody can deal with it, and it must not vanish.
            tracing::error!(stream = lane.stream, %entry, ?error, "an entry is left alone");
            None
        }
    }
}

fn delivered(name: &Name, record: crate::Record) -> Arc<Delivered> {
    Arc::new(Delivered::new(&Lane::new(Arc::clone(&name.0), name.1, 0), record))
}
