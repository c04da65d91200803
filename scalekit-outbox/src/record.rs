//! An event as a sink gets it: with its place in the log.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use uuid::Uuid;

/// The lane that a batch belongs to, as its owner names it to a sink.
///
/// ```
/// use scalekit_outbox::Lane;
/// let lane = Lane::new("east", 7, 3);
/// assert_eq!((lane.database(), lane.number(), lane.epoch()), ("east", 7, 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    database: Arc<str>,
    number: u8,
    epoch: u64,
}

impl Lane {
    /// Lane `number` of a database, in the hands of the owner that took it at `epoch`.
    pub fn new(database: impl Into<Arc<str>>, number: u8, epoch: u64) -> Self {
        Self { database: database.into(), number, epoch }
    }

    /// The name of the database whose events these are.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// 0..64.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Rises each time the lane changes hands: a batch of a lower one comes from an owner that lost the lane.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// An event's place in its lane's log: the same at every repetition, and greater than that of all before it.
///
/// ```
/// use scalekit_outbox::LogPosition;
/// let (first, second) = (LogPosition::new(1, 5, 90), LogPosition::new(1, 6, 40));
/// assert!(first < second);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    cluster: u16,
    tick: u64,
    seq: u64,
}

impl LogPosition {
    /// `cluster` rises at each failover or restore of the database, `tick` with time, `seq` within a tick.
    pub const fn new(cluster: u16, tick: u64, seq: u64) -> Self {
        Self { cluster, tick, seq }
    }

    /// Rises at each failover or restore of the database.
    pub const fn cluster(self) -> u16 {
        self.cluster
    }

    /// The stored snapshot that sees the event; 48 bits.
    pub const fn tick(self) -> u64 {
        self.tick
    }

    /// The event's number in its database.
    pub const fn seq(self) -> u64 {
        self.seq
    }
}

/// An event on its way to a sink; see [`Sink`](crate::Sink) for an example.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What consumers recognise a repetition by.
    pub id: Uuid,
    /// What happened.
    pub kind: String,
    /// Where it happened, a URI reference.
    pub source: String,
    /// To whom: order is kept among records of one key.
    pub key: String,
    /// When it was appended, by the database's clock, as RFC 3339 in UTC.
    pub time: String,
    /// What [`data`](Self::data) is written in.
    pub content_type: String,
    /// The trace that it was appended in.
    pub traceparent: Option<String>,
    /// Further attributes.
    pub headers: BTreeMap<String, String>,
    /// The payload.
    pub data: Bytes,
    /// Its place in the lane's log.
    pub position: LogPosition,
}

/// Shows neither key nor payload: they may belong to a person.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
