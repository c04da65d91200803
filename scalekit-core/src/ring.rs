//! The keys that several processes share: sign and seal with the first, accept all.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{Error, ErrorKind, Result};

/// Keys in a ring; every one more costs a try when a signature is checked.
const MAX_KEYS: usize = 64;
/// Bytes of a key's id.
const MAX_ID: usize = 64;
/// A shorter tag could be guessed.
const MIN_TAG: usize = 16;
/// Purposes of a key whose derived one is kept: deriving costs more than the signature itself.
const MAX_DERIVED: usize = 16;
const KEY_TAG: usize = 4;
const NONCE: usize = 12;

/// The keys that all processes of a service share.
///
/// The first key signs and seals; every key is accepted. To rotate, append the new key on every process,
/// then move it to the front on every process, and drop the old one when nothing made under it is left.
/// No key is used as it is: each purpose derives its own by HKDF-SHA256 from the purpose's label, so that
/// a signature made for one purpose never passes for another. A clone shares the keys.
///
/// Guarantee: `Debug` and errors show no key. Non-guarantee: the keys are not wiped from memory.
///
/// ```
/// use scalekit_core::KeyRing;
///
/// let old = KeyRing::parse("2026-05:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
/// let new = KeyRing::parse(
///     "# the first signs\n\
///      2026-06:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n\
///      2026-05:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
/// )?;
/// let tag = old.sign("cookie", b"id");
/// assert!(new.verify("cookie", b"id", &tag));
/// assert!(!new.verify("mail", b"id", &tag) && !old.verify("cookie", b"id", &new.sign("cookie", b"id")));
///
/// let sealed = old.seal("card", b"order 7", b"tok_1")?;
/// assert_eq!(new.open("card", b"order 7", &sealed).as_deref(), Some(b"tok_1".as_slice()));
/// assert_eq!(new.open("card", b"order 8", &sealed), None);
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone)]
pub struct KeyRing(Arc<[Key]>);

struct Key {
    id: Box<str>,
    /// Extracted once; every purpose expands its own key from it.
    root: Hkdf<Sha256>,
    derived: RwLock<Vec<(Box<str>, Hmac<Sha256>)>>,
}

impl KeyRing {
    /// A ring of one random key, for a service of one process: others would not accept what it signs.
    ///
    /// # Errors
    /// The operating system has no randomness to give.
    pub fn generate() -> Result<Self> {
        Self::from_keys([("generated", random()?)])
    }

    /// A ring of these keys, by id; the first signs.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] without a key, with more than 64, with an id that is not 1 to 64 of
    /// `A-Za-z0-9._-`, or with an id or a key that is there twice.
    pub fn from_keys<'a>(keys: impl IntoIterator<Item = (&'a str, [u8; 32])>) -> Result<Self> {
        let named = |(at, (id, secret))| (format!("key {}", at + 1), id, secret);
        Self::checked(keys.into_iter().enumerate().map(named))
    }

    /// A ring from a file's text: one `ID:BASE64` of 32 bytes a line; blank lines and `#` comments are skipped.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] as [`from_keys`](Self::from_keys), and for a line that does not parse. The
    /// message names the line, never the key.
    pub fn parse(text: &str) -> Result<Self> {
        let mut keys = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("line {}", at + 1);
            let (id, encoded) = line
                .split_once(':')
                .ok_or_else(|| config(format!("key ring, {place}: expected ID:BASE64")))?;
            let secret = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| bytes.try_into().ok());
            let secret = secret.ok_or_else(|| {
                config(format!("key ring, {place}: the key is not 32 bytes in standard base64"))
            })?;
            keys.push((place, id.trim(), secret));
        }
        Self::checked(keys)
    }

    /// The tag of a message under the first key: HMAC-SHA256. May be cut to 16 bytes or more.
    pub fn sign(&self, label: &str, message: &[u8]) -> [u8; 32] {
        self.0.first().map(|key| key.tag(label, message)).unwrap_or_default()
    }

    /// The tag of a message under every key, the first key's first: where something filed under an older
    /// key may still be found.
    pub fn sign_all(&self, label: &str, message: &[u8]) -> Vec<[u8; 32]> {
        self.0.iter().map(|key| key.tag(label, message)).collect()
    }

    /// Whether `tag`, of 16 to 32 bytes, is that of the message under any key. Takes the same time for all
    /// wrong tags.
    #[must_use]
    pub fn verify(&self, label: &str, message: &[u8], tag: &[u8]) -> bool {
        if !(MIN_TAG..=32).contains(&tag.len()) {
            return false;
        }
        let matches = self.0.iter().map(|key| key.tag(label, message)[..tag.len()].ct_eq(tag));
        matches.fold(0.into(), |any: subtle::Choice, one| any | one).into()
    }

    /// Encrypts under the first key (AES-256-GCM, random nonce): 32 bytes longer than the plaintext.
    ///
    /// `aad` is not stored; the same bytes must be given to [`open`](Self::open), which ties the sealed
    /// bytes to their place. A key must not seal more than 2^32 times under one label.
    ///
    /// # Errors
    /// The operating system has no randomness to give.
    pub fn seal(&self, label: &str, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let failed = || Error::new(ErrorKind::Internal, "sealing failed");
        let key = self.0.first().ok_or_else(failed)?;
        let nonce = random::<NONCE>()?;
        let sealed = key.cipher(label).encrypt(&nonce.into(), Payload { msg: plaintext, aad });
        let sealed = sealed.map_err(|_| failed())?;
        Ok([key.derive::<KEY_TAG>("key tag", label).as_slice(), nonce.as_slice(), &sealed].concat())
    }

    /// Decrypts what [`seal`](Self::seal) made under any key of the ring; `None` if it was not, or not with
    /// this label and `aad`.
    #[must_use]
    pub fn open(&self, label: &str, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (tag, rest) = sealed.split_first_chunk::<KEY_TAG>()?;
        let (nonce, message) = rest.split_first_chunk::<NONCE>()?;
        let named = self.0.iter().filter(|key| key.derive::<KEY_TAG>("key tag", label) == *tag);
        let open =
            |key: &Key| key.cipher(label).decrypt(&(*nonce).into(), Payload { msg: message, aad }).ok();
        named.into_iter().find_map(open)
    }

    /// A text by which processes compare their rings: equal only for the same keys in the same order.
    ///
    /// It reveals nothing of the keys and may be logged.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        self.0.iter().for_each(|key| hash.update(key.derive::<32>("fingerprint", "")));
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    fn checked<'a>(keys: impl IntoIterator<Item = (String, &'a str, [u8; 32])>) -> Result<Self> {
        let (mut ids, mut secrets, mut ring) = (HashSet::new(), HashSet::new(), Vec::new());
        for (place, id, secret) in keys {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            let problem = if ring.len() == MAX_KEYS {
                "a ring holds at most 64 keys"
            } else if !(1..=MAX_ID).contains(&id.len()) || !id.bytes().all(plain) {
                "an id is 1 to 64 of A-Za-z0-9._-"
            } else if !ids.insert(id) {
                "the id is there already"
            } else if !secrets.insert(secret) {
                "the key is there already under another id"
            } else {
                ring.push(Key { id: id.into(), root: Hkdf::new(None, &secret), derived: RwLock::default() });
                continue;
            };
            return Err(config(format!("key ring, {place}: {problem}")));
        }
        if ring.is_empty() {
            return Err(config("the key ring holds no key"));
        }
        Ok(Self(ring.into()))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.0.iter().map(|key| &key.id).collect::<Vec<_>>()).finish()
    }
}

impl Key {
    fn tag(&self, label: &str, message: &[u8]) -> [u8; 32] {
        let mut mac = self.mac(label);
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn mac(&self, label: &str) -> Hmac<Sha256> {
        let of_label = |(known, _): &&(Box<str>, _)| **known == *label;
        let derived = self.derived.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mac)) = derived.iter().find(of_label) {
            return mac.clone();
        }
        drop(derived);
        let mac = Hmac::<Sha256>::new(&self.derive::<64>("mac", label).into());
        let mut derived = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        if derived.len() < MAX_DERIVED && !derived.iter().any(|known| of_label(&known)) {
            derived.push((label.into(), mac.clone()));
        }
        mac
    }

    fn cipher(&self, label: &str) -> Aes256Gcm {
        Aes256Gcm::new(&self.derive::<32>("seal", label).into())
    }

    fn derive<const N: usize>(&self, purpose: &str, label: &str) -> [u8; N] {
        let mut out = [0; N];
        let info = [b"scalekit-1/".as_slice(), purpose.as_bytes(), b"/", label.as_bytes()];
        let expanded = self.root.expand_multi_info(&info, &mut out);
        debug_assert!(expanded.is_ok(), "HKDF-SHA256 expands to 8,160 bytes");
        out
    }
}

fn config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// Bytes that nobody can guess.
fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Internal, "no randomness").with_source(error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keys: &[(&str, u8)]) -> KeyRing {
        KeyRing::from_keys(keys.iter().map(|(id, byte)| (*id, [*byte; 32]))).unwrap()
    }

    #[test]
    fn errors_name_the_line_and_never_the_key() {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let cases = [
            ("# none\n".to_owned(), "no key"),
            (format!("\n\na{key}"), "line 3"),
            (format!("a:{key}\nb:{key}"), "line 2: the key is there already"),
            (format!("a:{key}\na:{key}"), "line 2: the id is there already"),
            (format!("a b:{key}"), "line 1: an id"),
            ("a:AAAA".to_owned(), "line 1: the key is not 32 bytes"),
            (format!("a:{}", &key[1..]), "line 1: the key is not 32 bytes"),
        ];
        for (text, expected) in cases {
            let error = KeyRing::parse(&text).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!format!("{error} {error:?}").contains("AAAA"), "{error:?}");
        }
        let many: Vec<(String, [u8; 32])> = (0..65).map(|at| (format!("k{at}"), [at; 32])).collect();
        assert!(KeyRing::from_keys(many.iter().map(|(id, key)| (id.as_str(), *key))).is_err());
        let shown = format!("{:?}", KeyRing::parse(&format!("a:{key}")).unwrap());
        assert_eq!(shown, r#"KeyRing(["a"])"#);
    }

    #[test]
    fn every_bit_of_tag_and_sealed_bytes_counts() {
        let ring = ring(&[("a", 1), ("b", 2)]);
        let tag = ring.sign("l", b"m");
        assert!(ring.verify("l", b"m", &tag) && ring.verify("l", b"m", &tag[..16]));
        assert!(!ring.verify("l", b"m", &tag[..15]) && !ring.verify("l", b"m", &[]));
        let sealed = ring.seal("l", b"aad", b"plain").unwrap();
        assert_eq!(sealed.len(), 5 + 32);
        let flip = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        assert!((0..256).all(|bit| !ring.verify("l", b"m", &flip(&tag, bit))));
        assert!((0..sealed.len() * 8).all(|bit| ring.open("l", b"aad", &flip(&sealed, bit)).is_none()));
        assert!((0..sealed.len()).all(|cut| ring.open("l", b"aad", &sealed[..cut]).is_none()));
        assert_ne!(sealed, ring.seal("l", b"aad", b"plain").unwrap(), "a nonce came twice");
    }

    #[test]
    fn rotation_keeps_what_older_keys_made() {
        let (old, both, new) = (ring(&[("a", 1)]), ring(&[("b", 2), ("a", 1)]), ring(&[("b", 2)]));
        let tag = old.sign("l", b"m");
        let sealed = old.seal("l", b"", b"p").unwrap();
        assert!(both.verify("l", b"m", &tag) && both.open("l", b"", &sealed).is_some());
        assert!(!new.verify("l", b"m", &tag) && new.open("l", b"", &sealed).is_none());
        assert_eq!(both.sign_all("l", b"m"), [new.sign("l", b"m"), tag]);
        assert_ne!(both.fingerprint(), ring(&[("a", 1), ("b", 2)]).fingerprint());
        assert_eq!(both.fingerprint(), both.clone().fingerprint());
        // Also when more purposes have been asked for than are kept.
        let labels: Vec<String> = (0..2 * MAX_DERIVED).map(|at| at.to_string()).collect();
        let tags: HashSet<_> = labels.iter().map(|label| both.sign(label, b"m")).collect();
        assert_eq!(tags.len(), labels.len());
        assert!(labels.iter().all(|label| tags.contains(&both.sign(label, b"m"))));
    }
}
