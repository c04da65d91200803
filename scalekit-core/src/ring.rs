//! The keys that several processes share: sign and seal with the first, accept all.

mod key;
mod reload;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt, sync::Arc};

use aes_gcm::aead::{Aead, Payload};
use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use self::key::Key;
pub use self::reload::Reload;
use crate::{Error, ErrorKind, Result};

/// Keys in a ring; every one more costs a try when a signature is checked.
const MAX_KEYS: usize = 64;
/// Bytes of a key's id.
const MAX_ID: usize = 64;
/// A shorter tag could be guessed.
const MIN_TAG: usize = 16;
const KEY_TAG: usize = 4;
const NONCE: usize = 12;

/// The keys that all processes of a service share.
///
/// The first key signs and seals; every key is accepted. To rotate, append the new key on every process,
/// then move it to the front on every process, and drop the old one when nothing made under it is left: each step by a
/// restart, or by [`reload`](Self::reload) while the process serves. No key is used as it is: each purpose derives its own by HKDF-SHA256 from the purpose's label, so that
/// a signature made for one purpose never passes for another. A clone is the same ring, also when that is reloaded.
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
pub struct KeyRing(Arc<ArcSwap<Vec<Arc<Key>>>>);

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
        self.0.load().first().map(|key| key.tag(label, message)).unwrap_or_default()
    }

    /// The tag of a message under every key, the first key's first: where something filed under an older
    /// key may still be found.
    pub fn sign_all(&self, label: &str, message: &[u8]) -> Vec<[u8; 32]> {
        self.0.load().iter().map(|key| key.tag(label, message)).collect()
    }

    /// Whether `tag`, of 16 to 32 bytes, is that of the message under any key. Takes the same time for all
    /// wrong tags.
    #[must_use]
    pub fn verify(&self, label: &str, message: &[u8], tag: &[u8]) -> bool {
        if !(MIN_TAG..=32).contains(&tag.len()) {
            return false;
        }
        let mut any = subtle::Choice::from(0);
        for key in self.0.load().iter() {
            let matches = key.tag(label, message)[..tag.len()].ct_eq(tag);
            key.used(matches.unwrap_u8().into());
            any |= matches;
        }
        any.into()
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
        let keys = self.0.load();
        let key = keys.first().ok_or_else(failed)?;
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
        let keys = self.0.load();
        let named = keys.iter().filter(|key| key.derive::<KEY_TAG>("key tag", label) == *tag);
        let open = |key: &Arc<Key>| {
            let plain = key.cipher(label).decrypt(&(*nonce).into(), Payload { msg: message, aad }).ok()?;
            key.used(1);
            Some(plain)
        };
        named.into_iter().find_map(open)
    }

    /// Puts other keys into this ring and all its clones, while they are used; what is under way goes on with the
    /// keys that it has begun with. Tells what has changed, and logs it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a key has an id that another one has now: what was made under that could not be told from
    /// what is made under this. Nothing is changed then.
    ///
    /// ```
    /// # use scalekit_core::KeyRing;
    /// let ring = KeyRing::from_keys([("may", [1; 32])])?;
    /// let reload = ring.reload(KeyRing::from_keys([("may", [1; 32]), ("june", [2; 32])])?)?;
    /// assert_eq!((reload.added.as_slice(), reload.warning), (["june".to_owned()].as_slice(), None));
    /// // Every process accepts it now, so that it may sign.
    /// let reload = ring.reload(KeyRing::from_keys([("june", [2; 32]), ("may", [1; 32])])?)?;
    /// assert_eq!((reload.signs.as_str(), reload.warning), ("june", None));
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn reload(&self, new: Self) -> Result<Reload> {
        let (before, new) = (self.0.load_full(), new.0.load_full());
        let known = |id: &str| before.iter().find(|key| *key.id == *id);
        if let Some(other) =
            new.iter().find(|key| known(&key.id).is_some_and(|known| known.print() != key.print()))
        {
            return Err(config(format!("key ring: another key has the id {:?} already", other.id)));
        }
        let reload = Reload::between(&before, &new);
        // A key that stays keeps what it has derived and counted.
        let keys = new.iter().map(|key| Arc::clone(known(&key.id).unwrap_or(key))).collect();
        self.0.store(Arc::new(keys));
        tracing::info!(added = ?reload.added, dropped = ?reload.dropped, signs = reload.signs, "the key ring was reloaded");
        if let Some(warning) = &reload.warning {
            tracing::warn!("{warning}");
        }
        Ok(reload)
    }

    /// How often each key has been found to have signed or sealed something, in this process, in the order of the ring.
    ///
    /// A key whose number has stood still on every process for longer than what it signed may live is safe to drop.
    ///
    /// ```
    /// # use scalekit_core::KeyRing;
    /// let ring = KeyRing::from_keys([("june", [2; 32]), ("may", [1; 32])])?;
    /// let tag = ring.sign("cookie", b"id");
    /// assert!(ring.verify("cookie", b"id", &tag));
    /// assert_eq!(ring.uses(), [("june".to_owned(), 1), ("may".to_owned(), 0)]);
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn uses(&self) -> Vec<(String, u64)> {
        self.0.load().iter().map(|key| (key.id.to_string(), key.uses())).collect()
    }

    /// A text by which processes compare their rings: equal only for the same keys in the same order.
    ///
    /// It reveals nothing of the keys and may be logged.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        self.0.load().iter().for_each(|key| hash.update(key.print()));
        hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// A text for each key, in the order of the ring, by which processes find whether each accepts what the other signs.
    ///
    /// They reveal nothing of the keys and may be published.
    pub fn fingerprints(&self) -> Vec<String> {
        let short = |key: &Arc<Key>| key.print().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.0.load().iter().map(short).collect()
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
                ring.push(Arc::new(Key::new(id, &secret)));
                continue;
            };
            return Err(config(format!("key ring, {place}: {problem}")));
        }
        if ring.is_empty() {
            return Err(config("the key ring holds no key"));
        }
        Ok(Self(Arc::new(ArcSwap::from_pointee(ring))))
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.0.load().iter().map(|key| &key.id).collect::<Vec<_>>()).finish()
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
