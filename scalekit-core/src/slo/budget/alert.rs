//! When a burn rate is worth waking somebody: two windows, a least number of events, and a bound on chance.

use serde::Serialize;

use super::window::Window;

/// A pair of windows that must both burn faster than a factor.
///
/// The long one says that it matters, the short one that it still goes on. The factors are those of the SRE
/// workbook for a 30-day budget.
///
/// ```
/// use scalekit_core::slo::{Alert, Window};
///
/// assert_eq!(Alert::Fast.factor(), 14.4);
/// assert_eq!((Alert::Fast.long(), Alert::Fast.short()), (Window::H1, Window::M5));
/// assert!(Alert::Fast.pages() && !Alert::Creeping.pages());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alert {
    /// 14.4 times over 1 h and 5 min: 2 % of the budget in an hour.
    Fast,
    /// 6 times over 6 h and 30 min: 5 % of the budget in 6 hours.
    Steady,
    /// 3 times over 1 d and 2 h: 10 % of the budget in a day.
    Slow,
    /// Once over 3 d and 6 h: 10 % of the budget in 3 days.
    Creeping,
}

impl Alert {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Fast, Self::Steady, Self::Slow, Self::Creeping];

    /// The burn rate that both windows must exceed.
    pub fn factor(self) -> f64 {
        match self {
            Self::Fast => 14.4,
            Self::Steady => 6.0,
            Self::Slow => 3.0,
            Self::Creeping => 1.0,
        }
    }

    /// The window that says that it matters.
    pub fn long(self) -> Window {
        match self {
            Self::Fast => Window::H1,
            Self::Steady => Window::H6,
            Self::Slow => Window::D1,
            Self::Creeping => Window::D3,
        }
    }

    /// The window that says that it still goes on.
    pub fn short(self) -> Window {
        match self {
            Self::Fast => Window::M5,
            Self::Steady => Window::M30,
            Self::Slow => Window::H2,
            Self::Creeping => Window::H6,
        }
    }

    /// Whether to wake somebody; the others are for the next working day.
    pub fn pages(self) -> bool {
        matches!(self, Self::Fast | Self::Steady)
    }
}

/// What one [`Alert`] says; see [`Budget::alerts`](super::Budget::alerts).
///
/// ```
/// use scalekit_core::slo::{Burning, BurnMeter};
///
/// let quiet = BurnMeter::new(0.99, 0)?.budget(3_600_000_000_000);
/// assert!(quiet.alerts.iter().all(|alert| alert.burning == Burning::NoData));
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Burning {
    /// One of the windows saw no event: neither good nor bad.
    NoData,
    /// The long window saw too few events to judge.
    TooFew,
    /// Both windows have events, and not both burn faster than the factor beyond doubt.
    No,
    /// Both windows burn faster than the factor, and chance does not explain it.
    Yes,
}

/// The lower end of Wilson's 99 % interval for a share, of which `bad` of `total` were seen; `None` of nothing.
pub(super) fn wilson_lower(bad: u64, total: u64) -> Option<f64> {
    const Z: f64 = 2.575_829;
    if total == 0 {
        return None;
    }
    let n = total as f64;
    let share = bad as f64 / n;
    let middle = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(((middle - spread) / (1.0 + Z * Z / n)).clamp(0.0, share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_wilsons() {
        // Hand-computed from the published formula with z = 2.575829.
        for (bad, total, lower) in [(0, 10, 0.0), (2, 4, 0.1050), (10, 10, 0.6011), (50, 1_000, 0.0350)] {
            let got = wilson_lower(bad, total).unwrap();
            assert!((got - lower).abs() < 5e-4, "{bad} of {total}: {got} instead of {lower}");
        }
        assert_eq!(wilson_lower(0, 0), None);
        assert!(wilson_lower(u64::MAX, u64::MAX).unwrap() > 0.999_999);
    }
}
