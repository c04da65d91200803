//! `skh1`: where a key belongs, the same in every language and for ever.
//!
//! A key is written as tagged bytes, the bytes are hashed by XXH3-64 with seed 0, and the upper 14 bits are one
//! of 16,384 slots. Sessions, lanes and shards all place by it. The bytes are specified, not the types, so a job
//! in another language finds the same slot; golden vectors are in `scalekit-shard/vectors/skh1.json`.
//!
//! | key | bytes |
//! |---|---|
//! | text | `01`, then UTF-8 as given: no case folding, no normalization |
//! | `u64` | `02`, then 8 bytes, big-endian |
//! | `i64` | `03`, then 8 bytes, two's complement, big-endian |
//! | `Uuid` | `04`, then its 16 bytes in the order of its text |
//! | bytes | `05`, then the bytes |
//! | tuple | `10`, then for each element the length of its own `skh1` bytes (4 bytes, big-endian) and those bytes |
//!
//! ```
//! use scalekit_core::skh1::{self, Slot};
//!
//! assert_eq!(skh1::key_bytes(&("acme", 7_u64)), b"\x10\0\0\0\x05\x01acme\0\0\0\x09\x02\0\0\0\0\0\0\0\x07");
//! assert_eq!(skh1::hash(&"acme"), 0xa12d_f628_ba91_6090);
//! assert_eq!(Slot::of(&"acme").get(), 10315);
//! // Another type is another key, whatever it looks like when printed.
//! assert_ne!(Slot::of(&7_u64), Slot::of(&"7"));
//! ```

use std::fmt;

use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

/// The name under which maps and vectors refer to this placement.
pub const NAME: &str = "skh1";

/// How many slots there are; it never changes.
pub const SLOTS: u16 = 1 << BITS;

const BITS: u32 = 14;
const TEXT: u8 = 0x01;
const UNSIGNED: u8 = 0x02;
const SIGNED: u8 = 0x03;
const UUID: u8 = 0x04;
const BYTES: u8 = 0x05;
const TUPLE: u8 = 0x10;

/// A value that data is placed by: it writes its `skh1` bytes.
///
/// Never built on [`std::hash::Hash`], whose bytes differ between platforms and versions. A type of your own
/// writes the key it stands for:
///
/// ```
/// use scalekit_core::skh1::{ShardKey, Slot};
///
/// struct Tenant(String);
/// impl ShardKey for Tenant {
///     fn write(&self, out: &mut Vec<u8>) { self.0.write(out) }
/// }
/// assert_eq!(Slot::of(&Tenant("acme".into())), Slot::of("acme"));
/// ```
pub trait ShardKey {
    /// Appends the key's bytes.
    fn write(&self, out: &mut Vec<u8>);
}

/// The bytes of a key; the module's text has an example.
pub fn key_bytes(key: &(impl ShardKey + ?Sized)) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    key.write(&mut out);
    out
}

/// The hash of a key; the module's text has an example.
pub fn hash(key: &(impl ShardKey + ?Sized)) -> u64 {
    hash_bytes(&key_bytes(key))
}

/// The hash of `skh1` bytes: XXH3-64 with seed 0.
///
/// ```
/// use scalekit_core::skh1;
/// assert_eq!(skh1::hash_bytes(b"\x01acme"), skh1::hash(&"acme"));
/// ```
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// One of the 16,384 slots; a key's slot never changes, the shard that a slot is on may.
///
/// ```
/// use scalekit_core::skh1::{SLOTS, Slot};
///
/// let slot = Slot::of(&("acme", 7_u64));
/// assert!(slot.get() < SLOTS);
/// assert_eq!(Slot::new(slot.get())?, slot);
/// assert!(Slot::new(SLOTS).is_err());
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a key.
    pub fn of(key: &(impl ShardKey + ?Sized)) -> Self {
        Self::of_hash(hash(key))
    }

    /// The slot of a hash: its upper 14 bits.
    pub const fn of_hash(hash: u64) -> Self {
        Self((hash >> (u64::BITS - BITS)) as u16)
    }

    /// The slot of this number.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] from [`SLOTS`] on.
    pub fn new(number: u16) -> Result<Self> {
        if number < SLOTS {
            return Ok(Self(number));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!("slot {number} does not exist: the last is {}", SLOTS - 1),
        ))
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// All slots in order.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..SLOTS).map(Self)
    }

    /// A Redis hash tag: keys that carry it lie on one node of a cluster.
    ///
    /// ```
    /// use scalekit_core::skh1::Slot;
    /// assert_eq!(format!("cart:{}:items", Slot::of("acme").hash_tag()), "cart:{284b}:items");
    /// ```
    pub fn hash_tag(self) -> String {
        format!("{{{:04x}}}", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ShardKey for str {
    fn write(&self, out: &mut Vec<u8>) {
        tagged(out, TEXT, self.as_bytes());
    }
}

impl ShardKey for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

impl ShardKey for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        tagged(out, UNSIGNED, &self.to_be_bytes());
    }
}

impl ShardKey for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        tagged(out, SIGNED, &self.to_be_bytes());
    }
}

impl ShardKey for Uuid {
    fn write(&self, out: &mut Vec<u8>) {
        tagged(out, UUID, self.as_bytes());
    }
}

impl ShardKey for [u8] {
    fn write(&self, out: &mut Vec<u8>) {
        tagged(out, BYTES, self);
    }
}

impl ShardKey for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_slice().write(out);
    }
}

impl<K: ShardKey + ?Sized> ShardKey for &K {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

macro_rules! tuple {
    ($($name:ident)+) => {
        impl<$($name: ShardKey),+> ShardKey for ($($name,)+) {
            fn write(&self, out: &mut Vec<u8>) {
                #[expect(non_snake_case, reason = "a tuple's parts are named as their types")]
                let ($($name,)+) = self;
                out.push(TUPLE);
                $(element(out, $name);)+
            }
        }
    };
}

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);

fn tagged(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    out.push(tag);
    out.extend_from_slice(payload);
}

fn element(out: &mut Vec<u8>, key: &impl ShardKey) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    key.write(out);
    // A part of 4 GiB does not occur; if it did, its length would saturate and the key would still be stable.
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tag_is_a_key_of_its_own() {
        let seven = [
            key_bytes("7"),
            key_bytes(&7_u64),
            key_bytes(&7_i64),
            key_bytes(&Uuid::from_u128(7)),
            key_bytes(&b"7"[..]),
            key_bytes(&("7",)),
            key_bytes(&(("7",),)),
        ];
        for (i, one) in seven.iter().enumerate() {
            assert!(seven[..i].iter().all(|other| other != one), "{one:02x?}");
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(key_bytes(&("ab", "c")), key_bytes(&("a", "bc")));
        assert_ne!(key_bytes(&(("a", "b"), "c")), key_bytes(&("a", ("b", "c"))));
        assert_ne!(key_bytes(&("a", "")), key_bytes(&("a",)));
    }

    #[test]
    fn the_slot_is_the_upper_bits() {
        assert_eq!(Slot::of_hash(0).get(), 0);
        assert_eq!(Slot::of_hash((1 << 50) - 1).get(), 0);
        assert_eq!(Slot::of_hash(1 << 50).get(), 1);
        assert_eq!(Slot::of_hash(u64::MAX).get(), SLOTS - 1);
        assert_eq!(Slot::all().len(), usize::from(SLOTS));
    }

    #[test]
    fn owned_and_borrowed_keys_are_the_same() {
        assert_eq!(key_bytes(&String::from("é")), key_bytes("é"));
        assert_eq!(key_bytes(&vec![1_u8, 2]), key_bytes([1_u8, 2].as_slice()));
        assert_eq!(key_bytes(&&7_u64), key_bytes(&7_u64));
    }
}
