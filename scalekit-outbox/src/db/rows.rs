//! What travels between the relay and its database.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use scalekit_core::{Error, ErrorKind, Result, db::Pooler};
use uuid::Uuid;

use crate::{LogPosition, Record};

/// The relay that asks, and what it must not be given.
#[derive(Clone, Debug)]
pub struct Who {
    /// The relay's id.
    pub relay: Uuid,
    /// The lease of all relays.
    pub lease: Duration,
    /// The lanes with a batch under way.
    pub busy: Vec<u8>,
    /// What stands between it and the database.
    pub pooler: Pooler,
}

/// The lanes that a relay owns.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Lanes and their epochs.
    pub lanes: Vec<(u8, i64)>,
    /// How many each relay should have at least.
    pub fair: i64,
    /// Whether the database was moved to another system, so that its lanes stand on ticks that say nothing here.
    pub moved: bool,
}

/// Whether there is anything to send.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// Events that wait.
    pub events: bool,
    /// Parked events that are due.
    pub parked: bool,
}

/// A lane's next events.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The lane.
    pub lane: u8,
    /// The epoch it was read under.
    pub epoch: i64,
    /// Whether more of the same window follow.
    pub more: bool,
    /// The seq up to which nothing of the window is left when these are acknowledged.
    pub upto: i64,
    /// Whether these are parked events.
    pub parked: bool,
    /// The events in their order.
    pub rows: Vec<Row>,
}

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct Row {
    /// For the sink.
    pub record: Record,
    /// The tick and seq that it is stored under, if parked.
    pub place: (i64, i64),
    /// Its transaction, on Postgres.
    pub xid: String,
    /// Whether an earlier event of its key is parked.
    pub behind: bool,
}

/// That a lane's batch was sent.
#[derive(Clone, Debug)]
pub struct Ack {
    /// The lane.
    pub lane: u8,
    /// The epoch it was read under.
    pub epoch: i64,
    /// The last event of the batch.
    pub seq: i64,
    /// Whether the window is used up.
    pub closed: bool,
    /// What was set aside.
    pub aside: Vec<Aside>,
}

/// An event that was set aside.
#[derive(Clone, Debug)]
pub struct Aside {
    /// Its tick in the log, or that it is parked under.
    pub tick: i64,
    /// Its seq.
    pub seq: i64,
    /// Its transaction, on Postgres.
    pub xid: String,
    /// Why; `None` for one behind another.
    pub reason: Option<String>,
    /// Seconds until it is tried again.
    pub retry: Option<f64>,
}

/// What became of parked events that were sent again.
#[derive(Clone, Debug)]
pub struct Redriven {
    /// The lane.
    pub lane: u8,
    /// The epoch they were read under.
    pub epoch: i64,
    /// The tick and seq of those that were taken.
    pub sent: Vec<(i64, i64)>,
    /// Those that were refused again.
    pub refused: Vec<Aside>,
}

/// An event's columns, the same on both databases.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) source: String,
    pub(super) key: String,
    pub(super) content_type: String,
    pub(super) traceparent: Option<String>,
    pub(super) headers: Option<String>,
    pub(super) data: Vec<u8>,
    pub(super) time: String,
}

impl Columns {
    pub(super) fn into_record(self, position: LogPosition) -> Result<Record> {
        let headers: BTreeMap<String, String> = match &self.headers {
            Some(text) => {
                serde_json::from_str(text).map_err(|error| corrupt("headers").with_source(error))?
            }
            None => BTreeMap::new(),
        };
        Ok(Record {
            id: self.id.parse().map_err(|error: uuid::Error| corrupt("id").with_source(error))?,
            kind: self.kind,
            source: self.source,
            key: self.key,
            time: self.time,
            content_type: self.content_type,
            traceparent: self.traceparent,
            headers,
            data: Bytes::from(self.data),
            position,
        })
    }
}

/// A lane number as the tables hold it.
pub(super) fn lane(number: i16) -> Result<u8> {
    u8::try_from(number).map_err(|error| corrupt("lane").with_source(error))
}

/// A place in the log from the columns that make it up.
pub(super) fn position(cluster: i32, tick: i64, seq: i64) -> Result<LogPosition> {
    let cluster = u16::try_from(cluster).map_err(|error| corrupt("epoch").with_source(error))?;
    Ok(LogPosition::new(cluster, tick.unsigned_abs(), seq.unsigned_abs()))
}

fn corrupt(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the {what} of a stored event cannot be read"))
}
