//! The lengths of time over which a burn rate can be asked.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A length of time that ends now; it serialises as `"5m"`, `"1h"` and so on.
///
/// ```
/// use scalekit_core::slo::Window;
///
/// assert_eq!(Window::M30.duration().as_secs(), 1_800);
/// assert_eq!(Window::D3.to_string(), "3d");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// 5 minutes.
    M5,
    /// 30 minutes.
    M30,
    /// 1 hour.
    H1,
    /// 2 hours.
    H2,
    /// 6 hours.
    H6,
    /// 1 day.
    D1,
    /// 3 days.
    D3,
    /// 30 days, the time for which a budget is meant.
    D30,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 8] =
        [Self::M5, Self::M30, Self::H1, Self::H2, Self::H6, Self::D1, Self::D3, Self::D30];

    /// Its length.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.seconds())
    }

    /// Its length as Prometheus writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::M5 => "5m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H2 => "2h",
            Self::H6 => "6h",
            Self::D1 => "1d",
            Self::D3 => "3d",
            Self::D30 => "30d",
        }
    }

    pub(super) fn nanos(self) -> u64 {
        self.seconds() * 1_000_000_000
    }

    fn seconds(self) -> u64 {
        const HOUR: u64 = 3_600;
        match self {
            Self::M5 => HOUR / 12,
            Self::M30 => HOUR / 2,
            Self::H1 => HOUR,
            Self::H2 => 2 * HOUR,
            Self::H6 => 6 * HOUR,
            Self::D1 => 24 * HOUR,
            Self::D3 => 72 * HOUR,
            Self::D30 => 720 * HOUR,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
