//! Which lane an event goes to: a function of its key alone, the same in every process and version.

use scalekit_core::skh1;

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
    (skh1::hash(&key) >> 58) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation of XXH3-64 over the byte 0x01 and the key.
    #[test]
    fn a_key_stays_in_its_lane_for_ever() {
        let long = "a".repeat(300);
        let known = [("", 56), ("order-17", 33), ("ö", 41), (long.as_str(), 49)];
        for (key, lane) in known {
            assert_eq!(lane_of(key), lane, "{key}");
        }
    }
}
