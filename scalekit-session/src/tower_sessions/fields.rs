//! From a record's data to the fields of a session, and back.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use time::OffsetDateTime;

use super::operations::Failure;
use crate::store::Record;

/// Fields and what they hold.
pub(super) type Fields = BTreeMap<String, String>;
/// The data of a record.
pub(super) type Data = HashMap<String, Value>;

/// When the session expires, in nanoseconds since the Unix epoch by the clock of those who use it.
const EXPIRY: &str = "!e";
/// Stands before the keys of the data, so that none of them is taken for metadata.
const KEY: char = '.';
/// How deep values may be nested to be read again.
const MAX_DEPTH: usize = 127;

/// The fields of a record.
pub(super) fn encode(data: &Data, expiry: OffsetDateTime) -> Result<Fields, Failure> {
    let mut fields: Fields = [(EXPIRY.to_owned(), expiry.unix_timestamp_nanos().to_string())].into();
    for (key, value) in data {
        if !fits(value, MAX_DEPTH) {
            return Err(Failure::Encode(format!(
                "a session's value is nested deeper than {MAX_DEPTH} levels"
            )));
        }
        let text = serde_json::to_string(value).map_err(|error| Failure::Encode(error.to_string()))?;
        fields.insert(format!("{KEY}{key}"), text);
    }
    Ok(fields)
}

/// The fields of a stored session that come from a record.
pub(super) fn of_record(record: Record) -> Fields {
    record.0.into_iter().filter(|(name, _)| name.starts_with(KEY) || name == EXPIRY).collect()
}

/// The record of fields.
pub(super) fn decode(fields: &Fields) -> Result<(Data, OffsetDateTime), Failure> {
    let expiry = fields.get(EXPIRY).and_then(|text| text.parse().ok());
    let expiry = expiry.and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok());
    let expiry = expiry.ok_or_else(|| Failure::Decode("a session has no expiry date".to_owned()))?;
    let mut data = Data::new();
    for (name, text) in fields {
        if let Some(key) = name.strip_prefix(KEY) {
            // The cause would quote the value.
            let value = serde_json::from_str(text)
                .map_err(|_| Failure::Decode("a session's value is not JSON".to_owned()))?;
            data.insert(key.to_owned(), value);
        }
    }
    Ok((data, expiry))
}

fn fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(|value| fits(value, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|value| fits(value, levels - 1)),
        _ => true,
    }
}
