//! Which lane an event goes to: a function of its key alone, the same in every process and version.

use twox_hash::XxHash3_64;

/// How many lanes a database's events are divided into.
pub const LANES: u8 = 64;

/// The lane of a key: the top 6 bits of XXH3-64 over the key's canonical bytes.
///
/// ```
/// use scalekit_outbox::{LANES, lane_of};
/// assert!(lane_of("order-17") < LANES);
/// assert_eq!(lane_of("order-17"), lane_of("order-17"));
/// ```
pub fn lane_of(key: &str) -> u8 {
    let mut bytes = Vec::with_capacity(key.len() + 1);
    bytes.push(TEXT_TAG);
    bytes.extend_from_slice(key.as_bytes());
    (XxHash3_64::oneshot(&bytes) >> 58) as u8
}

/// The tag that tells a text key from numbers and other types of key.
const TEXT_TAG: u8 = 0x01;
