//! An event as the application writes it: checked here, so that no relay meets one that it cannot send.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use scalekit_core::{Error, ErrorKind, Result};
use serde::Serialize;
use uuid::Uuid;

/// Largest payload, in bytes.
const DATA: usize = 1 << 20;
/// Longest type, key, source and content type, in bytes.
const TEXT: usize = 512;
/// Most headers, and the longest name and value, in bytes.
const HEADERS: usize = 32;
const HEADER_NAME: usize = 64;
const HEADER_VALUE: usize = 4096;
/// Exact length of a W3C `traceparent` of version 00.
const TRACEPARENT: usize = 55;

/// What happened, to whom: a CloudEvent in the making.
///
/// Events of one key are delivered in the order in which they were appended, if writers of that key take turns
/// before they append (a row lock, a version check). Nothing is promised between keys.
///
/// | part | CloudEvents name | limit |
/// |---|---|---|
/// | id | `id` | a UUID; version 7, made here, unless given |
/// | type | `type` | 1..=512 bytes |
/// | key | `subject` | 1..=512 bytes |
/// | source | `source` | 1..=512 bytes; `scalekit` unless given |
/// | payload | `data` | at most 1 MiB |
/// | headers | extensions | 32; names `[a-z0-9]`, 1..=64 bytes; values at most 4 KiB, without control characters |
///
/// ```
/// use scalekit_outbox::Event;
///
/// let placed = Event::new("order.placed", "order-17", &serde_json::json!({"total_cents": 999}))?
///     .with_source("/checkout")?
///     .with_header("tenant", "acme")?;
/// assert_eq!(placed.data(), br#"{"total_cents":999}"#);
/// assert_eq!(placed.id().get_version_num(), 7);
///
/// let nameless = Event::new("", "order-17", &()).unwrap_err();
/// assert_eq!(nameless.to_string(), "the event's type must have 1 to 512 bytes, it has 0");
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "an event is sent only if it is appended"]
pub struct Event {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) key: String,
    pub(crate) content_type: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) data: Bytes,
}

impl Event {
    /// An event whose payload is written as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] or [`ErrorKind::TooLarge`], naming the part that is out of bounds, or the payload
    /// if it cannot be written as JSON.
    pub fn new(kind: &str, key: &str, payload: &impl Serialize) -> Result<Self> {
        let data = serde_json::to_vec(payload).map_err(|error| {
            Error::new(ErrorKind::Invalid, "the event's payload cannot be written as JSON").with_source(error)
        })?;
        Self::raw(kind, key, "application/json", data)
    }

    /// An event whose payload is bytes of this content type.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn raw(kind: &str, key: &str, content_type: &str, data: impl Into<Bytes>) -> Result<Self> {
        let data = data.into();
        if data.len() > DATA {
            let message = format!("the event's payload may have {DATA} bytes, it has {}", data.len());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        Ok(Self {
            id: Uuid::now_v7(),
            kind: text("type", kind)?,
            source: "scalekit".to_owned(),
            key: text("key", key)?,
            content_type: text("content type", content_type)?,
            traceparent: None,
            headers: BTreeMap::new(),
            data,
        })
    }

    /// The same event with an id of the caller's; consumers recognise a repetition by it.
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// The same event from this source, a URI reference.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is empty, too long or has control characters.
    pub fn with_source(mut self, source: &str) -> Result<Self> {
        self.source = text("source", source)?;
        Ok(self)
    }

    /// The same event in this trace: the value of a W3C `traceparent` header.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it has not the form of one.
    pub fn with_traceparent(mut self, traceparent: &str) -> Result<Self> {
        let formed = traceparent.len() == TRACEPARENT
            && traceparent.bytes().all(|byte| byte == b'-' || matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !formed {
            return Err(Error::new(ErrorKind::Invalid, "the event's traceparent is not one"));
        }
        self.traceparent = Some(traceparent.to_owned());
        Ok(self)
    }

    /// The same event with one more attribute, which replaces an earlier one of that name.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the name or value is out of bounds, the name belongs to CloudEvents, or there are
    /// too many.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        let plain = (1..=HEADER_NAME).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !plain || RESERVED.contains(&name) {
            let message = format!("an event's header may not be named {name:?}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if value.len() > HEADER_VALUE || value.chars().any(char::is_control) {
            let message = format!(
                "the event's header {name:?} must have at most {HEADER_VALUE} bytes and no control characters"
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.headers.insert(name.to_owned(), value.to_owned());
        if self.headers.len() > HEADERS {
            let message = format!("an event may have {HEADERS} headers");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(self)
    }

    /// What consumers recognise a repetition by.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// What happened.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// To whom: order is kept among events of one key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The payload as it will be sent.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl AsRef<[Self]> for Event {
    fn as_ref(&self) -> &[Self] {
        std::slice::from_ref(self)
    }
}

/// Shows neither key nor payload: they may belong to a person.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// Names that a header would shadow on the wire.
const RESERVED: [&str; 9] =
    ["specversion", "id", "type", "subject", "source", "time", "datacontenttype", "traceparent", "data"];

fn text(part: &str, value: &str) -> Result<String> {
    if !(1..=TEXT).contains(&value.len()) {
        let message = format!("the event's {part} must have 1 to {TEXT} bytes, it has {}", value.len());
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    if value.chars().any(char::is_control) {
        let message = format!("the event's {part} must not have control characters");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(value.to_owned())
}
