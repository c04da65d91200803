//! How a field's value is stored, and read by nodes that know another version of its type.

use scalekit_core::{Error, ErrorKind, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Field, OnCorrupt};

/// Stands before the version of a value that is not of the first; no JSON begins with it.
const MARK: char = '@';

impl<T> Field<T> {
    /// What the stored text holds; `None` if it cannot be read and the field says to go on without.
    pub(crate) fn decode(&self, text: &str) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        match self.read(text) {
            Err(error) if self.on_corrupt == OnCorrupt::Ignore && error.kind() == ErrorKind::Corrupt => {
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    /// The text to store.
    pub(crate) fn encode(&self, value: &T) -> Result<String>
    where
        T: Serialize,
    {
        Ok(marked(self.version, to_text(value)?))
    }

    /// The text to store in place of this one. What a newer node has put into it, and this one does not know, is kept:
    /// the members that are not there any more after reading and writing it.
    pub(crate) fn encode_over(&self, value: &T, stored: Option<&str>) -> Result<String>
    where
        T: Serialize + DeserializeOwned,
    {
        let Some((version, json)) = stored.and_then(split) else { return self.encode(value) };
        let before: Option<Map<String, Value>> = serde_json::from_str(json).ok();
        let known = self.decode(stored.unwrap_or_default()).ok().flatten().map(|known| to_value(&known));
        let (Some(before), Some(Value::Object(known)), Value::Object(mut after)) =
            (before.filter(|_| version >= self.version), known.transpose()?, to_value(value)?)
        else {
            return self.encode(value);
        };
        for (name, unknown) in before {
            if !known.contains_key(&name) {
                after.entry(name).or_insert(unknown);
            }
        }
        Ok(marked(version, to_text(&after)?))
    }

    fn read(&self, text: &str) -> Result<T>
    where
        T: DeserializeOwned,
    {
        let (version, json) = split(text).ok_or_else(|| self.corrupt("has a version that is none"))?;
        let wrong = |error: serde_json::Error| self.corrupt("holds another type").with_source(error);
        match self.upgrade.filter(|_| version < self.version) {
            None => serde_json::from_str(json).map_err(wrong),
            Some(upgrade) => {
                let old = serde_json::from_str(json).map_err(wrong)?;
                let new =
                    upgrade(version, old).ok_or_else(|| self.corrupt("cannot be brought to this version"))?;
                serde_json::from_value(new).map_err(wrong)
            }
        }
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::new(ErrorKind::Corrupt, format!("the session's field `{}` {what}", self.name))
    }
}

/// The version of a text and its JSON.
fn split(text: &str) -> Option<(u32, &str)> {
    match text.strip_prefix(MARK) {
        None => Some((1, text)),
        Some(rest) => {
            let (version, json) = rest.split_once(' ')?;
            Some((version.parse().ok()?, json))
        }
    }
}

fn marked(version: u32, json: String) -> String {
    if version == 1 { json } else { format!("{MARK}{version} {json}") }
}

fn to_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(no_json)
}

fn to_value(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(no_json)
}

fn no_json(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Invalid, "a session's value must be JSON").with_source(error)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct V1 {
        items: Vec<String>,
    }

    /// Renames a member and adds one.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct V2 {
        #[serde(rename = "items")]
        articles: Vec<String>,
        #[serde(default)]
        note: Option<String>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Total {
        cents: i64,
    }

    const OLD: Field<V1> = Field::new("cart");
    const NEW: Field<V2> = Field::new("cart").versioned(2, |_, old| Some(old));
    const CENTS: Field<Total> =
        Field::new("total").versioned(3, |version, old| match (version, old.as_i64()) {
            (1, Some(euros)) => Some(json!({"cents": euros * 100})),
            (2, Some(cents)) => Some(json!({"cents": cents})),
            _ => None,
        });

    #[test]
    fn nodes_of_two_versions_take_turns_and_lose_nothing() {
        let mut stored = OLD.encode(&V1 { items: vec!["tea".to_owned()] }).unwrap();
        assert_eq!(stored, r#"{"items":["tea"]}"#, "the first version has no mark");
        for turn in 0..500 {
            let mut new = NEW.decode(&stored).unwrap().unwrap();
            new.articles.push(format!("new {turn}"));
            new.note = Some(format!("note {turn}"));
            stored = NEW.encode_over(&new, Some(&stored)).unwrap();
            let mut old = OLD.decode(&stored).unwrap().unwrap();
            old.items.push(format!("old {turn}"));
            stored = OLD.encode_over(&old, Some(&stored)).unwrap();
            let seen = NEW.decode(&stored).unwrap().unwrap();
            assert_eq!(seen.note, Some(format!("note {turn}")), "an old node has dropped it");
            assert_eq!(seen.articles.len(), 3 + 2 * turn);
        }
        // What the newer node itself removes stays removed.
        let mut new = NEW.decode(&stored).unwrap().unwrap();
        new.note = None;
        stored = NEW.encode_over(&new, Some(&stored)).unwrap();
        assert_eq!(NEW.decode(&stored).unwrap().unwrap().note, None);
    }

    #[test]
    fn an_older_value_is_brought_up_step_by_step() {
        assert_eq!(CENTS.decode("7").unwrap(), Some(Total { cents: 700 }));
        assert_eq!(CENTS.decode("@2 750").unwrap(), Some(Total { cents: 750 }));
        let stored = CENTS.encode(&Total { cents: 5 }).unwrap();
        assert_eq!(stored, r#"@3 {"cents":5}"#);
        assert_eq!(CENTS.decode(&stored).unwrap(), Some(Total { cents: 5 }));
        // Over an old value, the new one is of the new version.
        assert_eq!(CENTS.encode_over(&Total { cents: 9 }, Some("7")).unwrap(), r#"@3 {"cents":9}"#);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_the_field_or_nothing() {
        const CALM: Field<Total> = Field::new("total").on_corrupt(OnCorrupt::Ignore);
        for text in ["", "x", "@", "@2", "@x 1", "@4294967296 1", "\"euros\"", "@2 null", "{\"cents\":\"5\"}"]
        {
            let error = CENTS.decode(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{text}");
            assert!(error.to_string().contains("`total`"), "{error}");
            assert_eq!(CALM.decode(text).unwrap(), None, "{text}");
            assert_eq!(CALM.encode_over(&Total { cents: 1 }, Some(text)).unwrap(), r#"{"cents":1}"#);
        }
    }
}
