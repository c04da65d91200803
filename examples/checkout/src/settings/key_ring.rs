//! `--key-ring FILE`: the keys that sign cookies and seal tokens.

use std::{fmt, fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};

/// The longest id of a key, the most keys of a ring, and the largest file.
const ID_MAX: usize = 32;
const KEYS_MAX: usize = 32;
const FILE_MAX: u64 = 64 * 1024;

/// One line of the file.
#[derive(Clone)]
pub(crate) struct RingKey {
    pub(crate) id: String,
    pub(crate) secret: [u8; 32],
}

/// Reads the file; a message names the line and never the key.
pub(super) fn read(path: &Path) -> Result<Vec<RingKey>, String> {
    let name = path.display();
    let size = fs::metadata(path).map_err(|error| format!("--key-ring {name}: {error}"))?.len();
    if size > FILE_MAX {
        return Err(format!("--key-ring {name}: {size} bytes are more than {FILE_MAX}"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("--key-ring {name}: {error}"))?;
    parse(&text).map_err(|reason| format!("--key-ring {name}: {reason}"))
}

fn parse(text: &str) -> Result<Vec<RingKey>, String> {
    let mut keys: Vec<RingKey> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let key = parse_line(line).ok_or_else(|| format!("line {number} is not ID:BASE64 of 32 bytes"))?;
        if keys.iter().any(|known| known.id == key.id) {
            return Err(format!("line {number} repeats the id {:?}", key.id));
        }
        keys.push(key);
    }
    match keys.len() {
        0 => Err("no key in it".into()),
        1..=KEYS_MAX => Ok(keys),
        many => Err(format!("{many} keys are more than {KEYS_MAX}")),
    }
}

fn parse_line(line: &str) -> Option<RingKey> {
    let (id, secret) = line.split_once(':')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || id.len() > ID_MAX || !id.bytes().all(plain) {
        return None;
    }
    let secret = BASE64_STANDARD.decode(secret.trim()).ok()?.try_into().ok()?;
    Some(RingKey { id: id.to_owned(), secret })
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingKey").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    #[test]
    fn reads_keys_in_order_and_skips_empty_lines() {
        let keys = parse(&format!("new:{SECRET}\n\n  old:{SECRET}  \n")).unwrap();
        assert_eq!(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["new", "old"]);
        assert_eq!(keys[0].secret, [0; 32]);
    }

    #[test]
    fn names_the_line_and_never_the_key() {
        let refusal = |text: &str| parse(text).unwrap_err();
        assert_eq!(refusal(""), "no key in it");
        assert_eq!(refusal(&format!("a:{SECRET}\nb:AAAA")), "line 2 is not ID:BASE64 of 32 bytes");
        assert_eq!(refusal(SECRET), "line 1 is not ID:BASE64 of 32 bytes");
        assert_eq!(refusal(&format!("a:{SECRET}\na:{SECRET}")), "line 2 repeats the id \"a\"");
        assert!(!format!("{:?}", parse(&format!("a:{SECRET}")).unwrap()).contains("secret"));
    }
}
