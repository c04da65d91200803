//! Redis keys with one hash tag, so that keys that belong together share a slot of a Cluster.

use std::fmt::Display;

use crate::{Error, ErrorKind, Result};

/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// The key `<namespace>:{<tag>}:<rest>`.
///
/// Redis Cluster hashes only what stands between the braces: all keys of one tag are in one slot, and one
/// script or transaction can touch them together. Works the same without a Cluster.
///
/// # Errors
/// [`ErrorKind::Invalid`] for an empty tag (Redis would hash the whole key) or a brace in any part.
///
/// ```
/// use scalekit_core::{hash_tag, slot};
///
/// let (cart, index) = (hash_tag("shop", "u7", "cart")?, hash_tag("shop", "u7", "index")?);
/// assert_eq!(cart, "shop:{u7}:cart");
/// assert_eq!(slot(cart.as_bytes()), slot(index.as_bytes()));
/// assert!(hash_tag("shop", "u}7", "cart").is_err());
/// # Ok::<(), scalekit_core::Error>(())
/// ```
pub fn hash_tag(namespace: &str, tag: &str, rest: impl Display) -> Result<String> {
    if tag.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a hash tag must not be empty"));
    }
    let rest = rest.to_string();
    if [namespace, tag, &rest].iter().any(|part| part.contains(['{', '}'])) {
        return Err(Error::new(ErrorKind::Invalid, "no part of a tagged key may contain a brace"));
    }
    Ok(format!("{namespace}:{{{tag}}}:{rest}"))
}

/// The Cluster slot of a key: CRC16 (XMODEM) of its tag, or of all of it where it has none, modulo 16,384.
///
/// ```
/// assert_eq!(scalekit_core::slot(b"123456789"), 0x31C3);
/// ```
pub fn slot(key: &[u8]) -> u16 {
    crc16(tag_of(key)) % SLOTS
}

/// What the first `{` and the first `}` after it enclose, if that is not empty.
fn tag_of(key: &[u8]) -> &[u8] {
    let inside = key.iter().position(|byte| *byte == b'{').map(|open| &key[open + 1..]);
    let tag = inside.and_then(|rest| rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close]));
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

fn crc16(bytes: &[u8]) -> u16 {
    let step = |crc: u16, byte: &u8| (crc << 8) ^ TABLE[usize::from((crc >> 8) ^ u16::from(*byte))];
    bytes.iter().fold(0, step)
}

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        // The specification's own vector, and answers of CLUSTER KEYSLOT of a Redis 7.0.
        let known: [(&[u8], u16); 5] = [
            (b"123456789", 12_739),
            (b"foo", 12_182),
            (b"somekey", 11_058),
            (b"foo{hash_tag}", 2_515),
            (b"", 0),
        ];
        for (key, expected) in known {
            assert_eq!(slot(key), expected, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn the_tag_is_what_the_first_braces_enclose() {
        let same =
            [("{user1000}.following", "user1000"), ("foo{{bar}}zap", "{bar"), ("foo{bar}{zap}", "bar")];
        for (key, tag) in same {
            assert_eq!(tag_of(key.as_bytes()), tag.as_bytes());
        }
        for whole in ["foo{}{bar}", "plain", "open{", "}close{"] {
            assert_eq!(tag_of(whole.as_bytes()), whole.as_bytes());
        }
    }

    #[test]
    fn no_part_can_smuggle_a_second_tag() {
        for (namespace, tag, rest) in [("a{b", "t", "r"), ("a", "", "r"), ("a", "t}", "r"), ("a", "t", "{r}")]
        {
            assert!(hash_tag(namespace, tag, rest).is_err());
        }
    }
}
