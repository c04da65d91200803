//! An event as a stream entry: the CloudEvents attributes as fields, and `data`.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use scalekit_core::{Error, ErrorKind, Result};

use crate::{LogPosition, Record};

/// Bits of a stream id's first half that hold the tick; the rest is the cluster's epoch.
const TICK_BITS: u32 = 48;

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

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

/// Field names and values of an event, in turn.
pub(super) fn fields(record: &Record) -> Vec<Vec<u8>> {
    let id = record.id.to_string();
    let mut fields: Vec<(&str, &[u8])> = vec![
        ("specversion", b"1.0"),
        ("id", id.as_bytes()),
        ("type", record.kind.as_bytes()),
        ("subject", record.key.as_bytes()),
        ("source", record.source.as_bytes()),
        ("time", record.time.as_bytes()),
        ("datacontenttype", record.content_type.as_bytes()),
    ];
    if let Some(traceparent) = &record.traceparent {
        fields.push(("traceparent", traceparent.as_bytes()));
    }
    fields.extend(record.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
    fields.push(("data", &record.data));
    fields.into_iter().flat_map(|(name, value)| [name.as_bytes().to_vec(), value.to_vec()]).collect()
}

/// The event of an entry.
pub(super) fn record(entry: EntryId, fields: Vec<Vec<u8>>) -> Result<Record> {
    let mut rest = BTreeMap::new();
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        rest.insert(String::from_utf8(name).map_err(|_| missing("a field"))?, value);
    }
    let version = text(&mut rest, "specversion")?;
    if !version.starts_with("1.") {
        return Err(missing("specversion 1"));
    }
    let id = text(&mut rest, "id")?.parse().map_err(|_| missing("a UUID as id"))?;
    let data = rest.remove("data").ok_or_else(|| missing("data"))?;
    let content_type = text(&mut rest, "datacontenttype").unwrap_or_else(|_| "application/json".to_owned());
    Ok(Record {
        id,
        kind: text(&mut rest, "type")?,
        key: text(&mut rest, "subject")?,
        source: text(&mut rest, "source")?,
        time: text(&mut rest, "time").unwrap_or_default(),
        content_type,
        traceparent: text(&mut rest, "traceparent").ok(),
        headers: rest
            .into_iter()
            .filter_map(|(name, value)| Some((name, String::from_utf8(value).ok()?)))
            .collect(),
        data: Bytes::from(data),
        position: LogPosition::new((entry.0 >> TICK_BITS) as u16, entry.0 & ((1 << TICK_BITS) - 1), entry.1),
    })
}

/// The stream id of a place in the log.
pub(super) fn place(position: LogPosition) -> EntryId {
    EntryId((u64::from(position.cluster()) << TICK_BITS) | position.tick(), position.seq())
}

fn text(fields: &mut BTreeMap<String, Vec<u8>>, name: &str) -> Result<String> {
    let value = fields.remove(name).and_then(|value| String::from_utf8(value).ok());
    value.ok_or_else(|| missing(name))
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a stream entry is no event: it lacks {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_as_what_was_written() {
        let event = Record {
            id: uuid::Uuid::now_v7(),
            kind: "order.placed".into(),
            source: "/shop".into(),
            key: "ö-17".into(),
            time: "2026-01-01T00:00:00.000001Z".into(),
            content_type: "application/octet-stream".into(),
            traceparent: Some("00-a-b-01".into()),
            headers: BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]),
            data: Bytes::from_static(&[0, 255, 10]),
            position: LogPosition::new(3, (1 << 48) - 1, u64::MAX),
        };
        assert_eq!(record(place(event.position), fields(&event)).unwrap(), event);
    }

    #[test]
    fn an_entry_of_somebody_else_is_named_as_such() {
        let error = record(EntryId(1, 1), vec![b"specversion".to_vec(), b"1.0".to_vec()]).unwrap_err();
        assert_eq!(error.to_string(), "a stream entry is no event: it lacks id");
        assert!(record(EntryId(1, 1), vec![vec![255], vec![]]).is_err());
    }
}
