//! Where in a database's log a commit stands.

use std::{fmt, str::FromStr};

use crate::{Error, ErrorKind};

/// The log position at or after a commit: a read that has reached it sees the write.
///
/// On Postgres a log sequence number, printed as Postgres prints it; on SQLite, which has one copy,
/// always the [`ORIGIN`](Self::ORIGIN). Positions of different databases must not be compared.
///
/// ```
/// use scalekit_core::Position;
///
/// let position: Position = "16/B374D848".parse()?;
/// assert!(position > Position::ORIGIN);
/// assert_eq!(position.to_string(), "16/B374D848");
/// assert!("somewhere".parse::<Position>().is_err());
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before every write: any copy has reached it.
    pub const ORIGIN: Self = Self(0);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let half = |part: &str| {
            // `from_str_radix` would take a sign.
            let plain = (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(part, 16).ok()).flatten()
        };
        let halves = text.split_once('/').and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let (high, low) = halves.ok_or_else(|| Error::new(ErrorKind::Invalid, "not a log position"))?;
        Ok(Self(u64::from(high) << 32 | u64::from(low)))
    }
}
