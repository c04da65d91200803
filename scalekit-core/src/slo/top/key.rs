//! A text key of bounded size, kept in place.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

const HASHED: &str = "sha256:";

/// A text of at most [`TopKey::MAX`] bytes, for summaries over what clients send.
///
/// A longer text becomes `sha256:` and the first 32 hexadecimal digits of its SHA-256, so that two long texts stay
/// two keys (a text that itself begins with `sha256:` is hashed, too). `Debug` shows no key: keys may be ids.
///
/// ```
/// use scalekit_core::slo::TopKey;
///
/// assert_eq!(TopKey::new("acme").as_str(), "acme");
/// let long = TopKey::new(&"x".repeat(1_000_000));
/// assert!(long.as_str().starts_with("sha256:") && long.as_str().len() == 39);
/// assert_eq!(format!("{long:?}"), "TopKey(..)");
/// ```
#[derive(Clone, Copy)]
pub struct TopKey {
    len: u8,
    bytes: [u8; Self::MAX],
}

impl TopKey {
    /// The most bytes that are kept as they are.
    pub const MAX: usize = 64;

    /// Keeps or hashes a text.
    #[inline]
    pub fn new(text: &str) -> Self {
        if text.len() <= Self::MAX && !text.starts_with(HASHED) {
            Self::kept(text)
        } else {
            Self::hashed(text)
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        // Only ever filled from a whole text.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Hashed whatever its length.
    #[cold]
    pub(in super::super) fn hashed(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let mut hashed = String::from(HASHED);
        for byte in &digest[..16] {
            let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
            hashed.extend([digit(byte >> 4), digit(byte & 15)]);
        }
        Self::kept(&hashed)
    }

    /// Whether a text is its own key.
    #[inline]
    pub(in super::super) fn keeps(text: &str) -> bool {
        text.len() <= Self::MAX && !text.starts_with(HASHED)
    }

    /// The key of a text of which the bytes were kept; at most [`MAX`](Self::MAX) of them.
    #[inline]
    pub(in super::super) fn of_bytes(text: &[u8]) -> Self {
        let mut bytes = [0; Self::MAX];
        bytes[..text.len()].copy_from_slice(text);
        Self { len: text.len() as u8, bytes }
    }

    #[inline]
    fn kept(text: &str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    #[inline]
    pub(in super::super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for TopKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for TopKey {}

impl Hash for TopKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

impl fmt::Debug for TopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TopKey(..)")
    }
}

impl fmt::Display for TopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&str> for TopKey {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl Serialize for TopKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
