//! How a field's value is stored, and read by nodes that know another version of its type.

use scalekit_core::{Error, ErrorKind, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Field, OnCorrupt, unknown::kept};

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

    /// The text to store in place of this one. What a newer node has put into it, and this one does not know, is kept.
    pub(crate) fn encode_over(&self, value: &T, stored: Option<&str>) -> Result<String>
    where
        T: Serialize + DeserializeOwned,
    {
        let Some((version, json)) = stored.and_then(split) else { return self.encode(value) };
        let before = serde_json::from_str::<Value>(json).ok().filter(|_| version >= self.version);
        let known = self.decode(stored.unwrap_or_default()).ok().flatten();
        let (Some(before), Some(known)) = (before, known) else { return self.encode(value) };
        let (known, after) = (to_value(&known)?, to_value(value)?);
        if known == before {
            return Ok(marked(version, to_text(value)?));
        }
        let as_read = |value: &Value| {
            let read = T::deserialize(value).ok()?;
            to_value(&read).ok()
        };
        let meant = as_read(&after);
        let kept = kept(&before, &known, &after, |kept| meant.is_some() && as_read(kept) == meant);
        Ok(marked(version, to_text(&kept)?))
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
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::{Map, json};

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
    fn what_another_node_knows_survives_at_any_depth_and_what_is_removed_stays_removed() {
        #[derive(Default, Serialize, Deserialize)]
        struct Cart {
            address: Map<String, Value>,
            lines: Vec<Line>,
            by_sku: BTreeMap<String, Line>,
            owner: Line,
        }
        #[derive(Clone, Default, Serialize, Deserialize)]
        struct Line {
            sku: String,
        }
        const CART: Field<Cart> = Field::new("cart");
        let line = |sku: &str| json!({"sku": sku, "gift": {"for": sku}});
        let stored = json!({
            "address": {"city": "Ulm", "zip": "1"},
            "lines": [line("tea"), line("tea"), line("rum"), line("oil")],
            "by_sku": {"tea": line("tea"), "rum": line("rum")},
            "owner": line("me"),
            "new": [1],
        });
        let mut cart = CART.decode(&stored.to_string()).unwrap().unwrap();
        cart.address.remove("zip");
        cart.lines.swap(0, 2);
        cart.lines.truncate(3);
        cart.lines.push(Line { sku: "jam".to_owned() });
        cart.by_sku.remove("rum");
        cart.by_sku.insert("jam".to_owned(), Line::default());
        cart.owner.sku = "you".to_owned();
        let kept = CART.encode_over(&cart, Some(&stored.to_string())).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&kept).unwrap(),
            json!({
                "address": {"city": "Ulm"},
                "lines": [line("rum"), line("tea"), line("tea"), {"sku": "jam"}],
                "by_sku": {"tea": line("tea"), "jam": {"sku": ""}},
                "owner": {"sku": "you", "gift": {"for": "me"}},
                "new": [1],
            })
        );
    }

    #[test]
    fn a_member_that_is_known_by_another_name_is_not_kept_beside_itself() {
        #[derive(Default, PartialEq, Debug, Serialize, Deserialize)]
        struct Renamed {
            #[serde(alias = "anzahl", rename = "count")]
            count: u64,
            #[serde(default, skip_serializing_if = "Option::is_none")]
            note: Option<String>,
        }
        const RENAMED: Field<Renamed> = Field::new("renamed");
        let stored = r#"{"anzahl":3,"note":"x","newer":true}"#;
        let mut value = RENAMED.decode(stored).unwrap().unwrap();
        (value.count, value.note) = (4, None);
        let kept = RENAMED.encode_over(&value, Some(stored)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), json!({"count": 4, "newer": true}));
        assert_eq!(RENAMED.decode(&kept).unwrap(), Some(value));
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
