//! An event as a handler gets it.

use std::fmt;

use scalekit_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{Lane, Record};

/// An event that has arrived; see [`Handler`](crate::Handler) for an example.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivered {
    database: String,
    lane: u8,
    record: Record,
}

impl Delivered {
    pub(crate) fn new(lane: &Lane, record: Record) -> Self {
        Self { database: lane.database().to_owned(), lane: lane.number(), record }
    }

    /// What a repetition is recognised by.
    pub fn id(&self) -> Uuid {
        self.record.id
    }

    /// What happened.
    pub fn kind(&self) -> &str {
        &self.record.kind
    }

    /// To whom; the CloudEvents `subject`.
    pub fn key(&self) -> &str {
        &self.record.key
    }

    /// The name of the database whose outbox it came from.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The lane it came by.
    pub fn lane(&self) -> u8 {
        self.lane
    }

    /// Where it happened.
    pub fn source(&self) -> &str {
        &self.record.source
    }

    /// When it was appended, as RFC 3339 in UTC.
    pub fn time(&self) -> &str {
        &self.record.time
    }

    /// The trace that it was appended in.
    pub fn traceparent(&self) -> Option<&str> {
        self.record.traceparent.as_deref()
    }

    /// A further attribute.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.record.headers.get(name).map(String::as_str)
    }

    /// The payload.
    pub fn data(&self) -> &[u8] {
        &self.record.data
    }

    /// The payload, read as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it is not JSON of this form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.record.data).map_err(|error| {
            let message = format!("the payload of a {:?} event has an unexpected form", self.record.kind);
            Error::new(ErrorKind::Corrupt, message).with_source(error)
        })
    }
}

/// Shows neither key nor payload: they may belong to a person.
impl fmt::Debug for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivered")
            .field("lane", &self.lane)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}
