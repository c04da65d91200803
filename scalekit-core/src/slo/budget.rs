//! How fast an objective burns its error budget, and what is left of it, from two counters and a clock.

mod alert;
mod ring;
mod window;

use std::array;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

pub use alert::{Alert, Burning};
pub use window::Window;

use self::alert::wilson_lower;
use self::ring::{Counts, Ring, Sample};
use crate::{Error, ErrorKind, Result};

/// Events below which an alert's long window is not judged.
const MIN_EVENTS: u64 = 20;
const MINUTE_NS: f64 = 60e9;

/// Remembers two growing counters over 30 days, so that burn rates can be asked without Prometheus.
///
/// Give it the counters by [`observe`](Self::observe) at every read and at least every 10 s; it spawns nothing and
/// reads no clock. Times are nanoseconds since any epoch, always the same one; an earlier time than the last counts
/// as the last.
///
/// # Guarantees
///
/// - A burn rate is that of a window of which the start is off by at most 0.35 % of its length plus the time between
///   two observations around it, and whose end is the last observation. A process that is younger than a window
///   answers for its own life.
/// - No events are [`None`] and [`Burning::NoData`], never NaN and never "100 % good".
/// - 18.6 KB of memory, however many events.
///
/// # Non-guarantees
///
/// - If nobody observes for an hour, the events of that hour count as if they had come evenly in it: nothing is
///   lost, but a burst at its end looks like an hour of a little, and an alert about it comes late.
/// - A total or a count of good ones that falls is a counter that started anew: all before it is forgotten. Who
///   observes from several threads reads the counters and observes them under one lock.
/// - It knows this process only; the fleet's truth comes from the exported counters.
///
/// ```
/// use scalekit_core::slo::{Alert, BurnMeter, Burning, Window};
///
/// const S: u64 = 1_000_000_000;
/// let meter = BurnMeter::new(0.999, 0)?;
/// // Half an hour at 100 requests a second, of which 2 % fail.
/// for tick in 1..=180 {
///     meter.observe(tick * 10 * S, tick * 980, tick * 1_000);
/// }
///
/// assert!((meter.burn_rate(Window::H1).unwrap() - 20.0).abs() < 1e-9, "2 % is 20 times 0.1 %");
/// let budget = meter.budget(1_800 * S);
/// assert_eq!(budget.alerts[0].alert, Alert::Fast);
/// assert_eq!(budget.alerts[0].burning, Burning::Yes);
/// assert!((budget.left_ratio.unwrap() + 19.0).abs() < 1e-9, "spent 20 times what was allowed so far");
/// assert_eq!(budget.left_minutes, Some(0.0));
/// # Ok::<(), scalekit_core::Error>(())
/// ```
pub struct BurnMeter {
    /// The share of events that may be bad.
    allowed: f64,
    target: f64,
    min_events: u64,
    history: Mutex<History>,
}

impl BurnMeter {
    /// A meter for counters that are 0 now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] unless the target is above 0 and below 1: with a target of 1 there is no budget to burn.
    pub fn new(target: f64, now: u64) -> Result<Self> {
        if !(target > 0.0 && target < 1.0) {
            let message = format!("a budget needs a target above 0 and below 1, not {target}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let history = Mutex::new(History::new(now));
        Ok(Self { allowed: 1.0 - target, target, min_events: MIN_EVENTS, history })
    }

    /// Judges no alert whose long window saw fewer events; 20 by default.
    #[must_use]
    pub fn with_min_events(mut self, events: u64) -> Self {
        self.min_events = events;
        self
    }

    /// Takes the counters as they are now; more good ones than all count as all. No round trip; a short lock.
    pub fn observe(&self, now: u64, good: u64, total: u64) {
        self.with(|history| history.observe(now, Counts { good: good.min(total), total }));
    }

    /// How many times faster than allowed the budget is being spent: `bad / total / (1 - target)`.
    ///
    /// At 1 the budget of 30 days lasts for 30 days. `None` if there was no event.
    pub fn burn_rate(&self, window: Window) -> Option<f64> {
        self.with(|history| self.burn(history, window).rate)
    }

    /// Everything at once, at `now`; call [`observe`](Self::observe) first, since nothing is taken to have happened
    /// after the last observation.
    pub fn budget(&self, now: u64) -> Budget {
        self.with(|history| {
            history.silence(now);
            let burns = Window::ALL.map(|window| self.burn(history, window));
            let left_ratio = burn_in(&burns, Window::D30).rate.map(|burn| 1.0 - burn);
            let present = burn_in(&burns, Window::H1).rate;
            Budget {
                target: self.target,
                left_ratio,
                left_minutes: left_ratio.and_then(|left| minutes(left, present)),
                burns,
                alerts: Alert::ALL.map(|alert| AlertState { alert, burning: self.judge(&burns, alert) }),
            }
        })
    }

    /// Bytes of memory, all told.
    ///
    /// ```
    /// assert!(scalekit_core::slo::BurnMeter::new(0.99, 0)?.bytes() < 19_000);
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.with(|history| history.rings.iter().map(Ring::bytes).sum::<usize>())
    }

    fn burn(&self, history: &mut History, window: Window) -> Burn {
        let (bad, total) = history.events(window);
        let rate = (total > 0).then(|| bad as f64 / total as f64 / self.allowed);
        let at_least = wilson_lower(bad, total).map(|share| share / self.allowed);
        Burn { window, bad, total, rate, at_least }
    }

    fn judge(&self, burns: &[Burn; 8], alert: Alert) -> Burning {
        let (long, short) = (burn_in(burns, alert.long()), burn_in(burns, alert.short()));
        match (long.at_least, short.at_least) {
            (None, _) | (_, None) => Burning::NoData,
            _ if long.total < self.min_events => Burning::TooFew,
            (Some(long), Some(short)) if long > alert.factor() && short > alert.factor() => Burning::Yes,
            _ => Burning::No,
        }
    }

    fn with<T>(&self, look: impl FnOnce(&mut History) -> T) -> T {
        look(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for BurnMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BurnMeter").field("target", &self.target).finish_non_exhaustive()
    }
}

/// What [`BurnMeter::budget`] says about an objective, ready for JSON; the meter has an example.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Budget {
    /// The share of events that should be good.
    pub target: f64,
    /// The share of the budget of 30 days that is left: `1 - bad / ((1 - target) * total)` over [`Window::D30`].
    /// Below 0 if more was spent than allowed; `None` without events.
    pub left_ratio: Option<f64>,
    /// Minutes until nothing is left if it goes on as in the last hour: `left_ratio * 43,200 / burn(1h)`, since a
    /// burn of 1 spends the whole budget in 30 days, 43,200 minutes. 0 if nothing is left; `None` if nothing burns
    /// or the last hour saw no events.
    pub left_minutes: Option<f64>,
    /// The burn of each window, the shortest first.
    pub burns: [Burn; 8],
    /// The state of each alert, the most urgent first.
    pub alerts: [AlertState; 4],
}

/// The events of a window and what they mean for the budget; part of a [`Budget`].
///
/// ```
/// use scalekit_core::slo::{BurnMeter, Window};
///
/// let meter = BurnMeter::new(0.9, 0)?;
/// meter.observe(1, 2, 4);
/// let burn = meter.budget(1).burns[0];
/// assert_eq!((burn.window, burn.bad, burn.total), (Window::M5, 2, 4));
/// assert!(burn.rate > Some(4.9) && burn.at_least < Some(1.1), "2 of 4 may be chance");
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Burn {
    /// Over what time.
    pub window: Window,
    /// Events that were not good.
    pub bad: u64,
    /// All events that count.
    pub total: u64,
    /// [`BurnMeter::burn_rate`]; `None` without events.
    pub rate: Option<f64>,
    /// What the rate is at least, beyond chance: from the lower end of Wilson's 99 % interval of the share of bad
    /// ones. Alerts go by this.
    pub at_least: Option<f64>,
}

/// One alert of a [`Budget`] and its state.
///
/// ```
/// let budget = scalekit_core::slo::BurnMeter::new(0.99, 0)?.budget(0);
/// let json = serde_json::to_string(&budget.alerts[0]).unwrap();
/// assert_eq!(json, r#"{"alert":"fast","burning":"no_data"}"#);
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AlertState {
    /// Which pair of windows.
    pub alert: Alert,
    /// Whether both burn.
    pub burning: Burning,
}

struct History {
    /// When the counters were 0.
    start: u64,
    last: Sample,
    rings: [Ring; 8],
}

impl History {
    fn new(now: u64) -> Self {
        Self {
            start: now,
            last: Sample { at: now, counts: Counts::default() },
            rings: array::from_fn(|at| Ring::new(Window::ALL[at].nanos())),
        }
    }

    fn observe(&mut self, now: u64, counts: Counts) {
        if counts.total < self.last.counts.total || counts.good < self.last.counts.good {
            // From 0 since the last look; the edges before that are not asked any more.
            self.start = self.last.at;
            self.last.counts = Counts::default();
        }
        let next = Sample { at: now.max(self.last.at), counts };
        self.rings.iter_mut().for_each(|ring| ring.pass(self.last, next));
        self.last = next;
    }

    /// Time has passed, and nothing is known to have happened in it.
    fn silence(&mut self, now: u64) {
        self.observe(now, self.last.counts);
    }

    /// How many bad ones and how many in all.
    fn events(&mut self, window: Window) -> (u64, u64) {
        let Counts { good, total } = self.last.counts;
        let ring = &mut self.rings[window as usize];
        let before = ring.at_start(self.last.at, self.start).unwrap_or_default();
        let total = total.saturating_sub(before.total);
        (total.saturating_sub(good.saturating_sub(before.good)), total)
    }
}

fn burn_in(burns: &[Burn; 8], window: Window) -> Burn {
    burns[window as usize]
}

fn minutes(left: f64, burn: Option<f64>) -> Option<f64> {
    let period = Window::D30.nanos() as f64 / MINUTE_NS;
    if left <= 0.0 { Some(0.0) } else { burn.filter(|burn| *burn > 0.0).map(|burn| left * period / burn) }
}
