//! Events that a handler set aside, for people to see: the entries themselves stay unacknowledged in their streams.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use scalekit_core::{
    Error, ErrorKind, Result,
    redis::{cmd, pipe},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RedisStreams;
use crate::{Delivered, Parked};

/// How many fields one step of a scan looks at.
const SCAN: u16 = 100;
/// Most characters of a reason that are kept.
const REASON: usize = 500;

/// What the hash holds under an event's id.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    kind: String,
    lane: u8,
    reason: String,
    retry: bool,
    since_ms: u64,
}

impl RedisStreams {
    /// Some `limit` of the events that this group's handlers set aside. Round trips: 1 per 100 of them.
    ///
    /// Attempts and how many wait behind each are not counted here. An event whose entry was deleted from its stream, and
    /// whose consumer has died since, stays here until it is redriven.
    ///
    /// # Errors
    /// Redis's failure.
    pub async fn parked(&self, limit: u16) -> Result<Vec<Parked>> {
        let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
        loop {
            let (next, fields): (String, Vec<(String, String)>) = self
                .redis
                .query(cmd("HSCAN").arg(self.parked_key()).arg(&cursor).arg("COUNT").arg(SCAN))
                .await?;
            found.extend(fields.into_iter().filter_map(|(id, note)| read(&id, &note)));
            if next == "0" || found.len() >= usize::from(limit) {
                found.truncate(usize::from(limit));
                return Ok(found);
            }
            cursor = next;
        }
    }

    /// Has a parked event, and those of its key behind it, handled again within some seconds; `false` if there is
    /// none of that id. Round trips: 1.
    ///
    /// Asked in the moment in which the event is set aside once more, it can be overtaken: the list shows it still then.
    ///
    /// # Errors
    /// Redis's failure.
    pub async fn redrive(&self, event: Uuid) -> Result<bool> {
        self.redis.query(cmd("HDEL").arg(self.parked_key()).arg(event.to_string())).await
    }

    /// Writes down what was set aside, and forgets (`None`) what no longer is. Round trips: 1.
    pub(super) async fn tell(&self, notes: &HashMap<Uuid, Option<Note>>) -> Result<()> {
        let mut both = pipe();
        for (id, note) in notes {
            let id = id.to_string();
            match note {
                Some(note) => {
                    let text = serde_json::to_string(note).map_err(|error| {
                        Error::new(ErrorKind::Internal, "a note cannot be written").with_source(error)
                    })?;
                    both.cmd("HSET").arg(self.parked_key()).arg(id).arg(text).ignore();
                }
                None => {
                    both.cmd("HDEL").arg(self.parked_key()).arg(id).ignore();
                }
            }
        }
        self.redis.pipeline(&both).await
    }

    /// Which of these are still noted as parked.
    pub(super) async fn noted(&self, events: &[Uuid]) -> Result<Vec<bool>> {
        let ids: Vec<String> = events.iter().map(Uuid::to_string).collect();
        let notes: Vec<Option<String>> =
            self.redis.query(cmd("HMGET").arg(self.parked_key()).arg(ids)).await?;
        Ok(notes.iter().map(Option::is_some).collect())
    }
}

impl Note {
    pub(super) fn new(event: &Delivered, reason: &str, retry: bool) -> Self {
        Self {
            kind: event.kind().to_owned(),
            lane: event.lane(),
            reason: reason.chars().take(REASON).collect(),
            retry,
            since_ms: now_ms(),
        }
    }
}

fn read(id: &str, note: &str) -> Option<Parked> {
    let note: Note = serde_json::from_str(note).ok()?;
    Some(Parked {
        id: id.parse().ok()?,
        kind: note.kind,
        lane: note.lane,
        reason: note.reason,
        retry: note.retry,
        attempts: 0,
        seconds: now_ms().saturating_sub(note.since_ms) / 1000,
        behind: 0,
    })
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
