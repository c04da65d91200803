//! How far something is behind: the last observation while it is fresh, and nothing after that.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::bounds::nanos;

const MAX_AGE: Duration = Duration::from_secs(30);
const HALF_LIFE: Duration = Duration::from_secs(30);

/// The lag of a queue, a replica or a consumer, as somebody last saw it.
///
/// A value is exported only while its observation is fresh (30 s by default). After that it disappears and
/// [`LagReading::stale`] is true: an autoscaler must not act on the last words of a dead observer. It is stale from
/// the start until the first observation.
///
/// Beside each value stands its exponentially weighted average over time, which flaps less: a value weighs half as
/// much after each half-life (30 s by default), whatever the rhythm of the observations. Each value counts for the
/// time since the one before it. After a stale time it starts anew at the next value.
///
/// Times are nanoseconds since any epoch. A read and an observation are a short lock each, no round trip.
///
/// ```
/// use std::time::Duration;
/// use scalekit_core::slo::{Lag, LagGauge};
///
/// const S: u64 = 1_000_000_000;
/// let outbox = LagGauge::new().with_half_life(Duration::from_secs(10));
/// assert!(outbox.read(0).stale, "nobody has looked yet");
///
/// outbox.observe(0, Lag::items(100).and_age(Duration::from_secs(4)));
/// outbox.observe(10 * S, Lag::items(0).and_age(Duration::ZERO));
/// let read = outbox.read(12 * S);
/// assert_eq!((read.items, read.items_average), (Some(0.0), Some(50.0)), "a half-life later");
/// assert_eq!((read.seconds, read.seconds_average), (Some(0.0), Some(2.0)));
///
/// let late = outbox.read(41 * S);
/// assert!(late.stale && late.items.is_none() && late.items_average.is_none());
/// ```
#[derive(Debug)]
#[must_use]
pub struct LagGauge {
    max_age: u64,
    half_life: u64,
    state: Mutex<Option<State>>,
}

/// One observation; what was not looked at is `None`. [`LagGauge`] has an example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Lag {
    /// How many items wait.
    pub items: Option<u64>,
    /// How long the oldest of them waits, or by how much time a replica is behind.
    pub age: Option<Duration>,
}

/// What [`LagGauge::read`] says; all values are `None` if it is stale.
///
/// ```
/// let never = scalekit_core::slo::LagGauge::new().read(7);
/// assert_eq!(serde_json::to_value(&never).unwrap()["stale"], true);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LagReading {
    /// Items as last seen.
    pub items: Option<f64>,
    /// Their average, weighted by time.
    pub items_average: Option<f64>,
    /// Seconds as last seen.
    pub seconds: Option<f64>,
    /// Their average, weighted by time.
    pub seconds_average: Option<f64>,
    /// Seconds since the observation, whether stale or not; `None` if there was none.
    pub observed_ago: Option<f64>,
    /// Whether the last observation is too old, or there was none.
    pub stale: bool,
}

impl LagGauge {
    /// A gauge that nobody has observed.
    pub fn new() -> Self {
        Self { max_age: nanos(MAX_AGE), half_life: nanos(HALF_LIFE), state: Mutex::new(None) }
    }

    /// Exports an observation until it is older than this.
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = nanos(max_age);
        self
    }

    /// The time after which a value weighs half as much in the averages; zero makes them the value itself.
    pub fn with_half_life(mut self, half_life: Duration) -> Self {
        self.half_life = nanos(half_life);
        self
    }

    /// Takes what was seen at `now`. One that is older than the last is ignored.
    pub fn observe(&self, now: u64, lag: Lag) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.as_ref().is_some_and(|last| last.at > now) {
            return;
        }
        let last = state.take().filter(|last| now - last.at <= self.max_age);
        let kept = last.as_ref().map_or(0.0, |last| self.weight_after(now - last.at));
        let mix = |value: Option<f64>, old: Option<Value>| {
            value.map(|value| Value {
                last: value,
                average: old.map_or(value, |old| value + kept * (old.average - value)),
            })
        };
        *state = Some(State {
            at: now,
            items: mix(lag.items.map(|items| items as f64), last.as_ref().and_then(|last| last.items)),
            seconds: mix(lag.age.map(|age| age.as_secs_f64()), last.as_ref().and_then(|last| last.seconds)),
        });
    }

    /// The values at `now`, if they are fresh.
    #[must_use]
    pub fn read(&self, now: u64) -> LagReading {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(state) = state.as_ref() else { return LagReading { stale: true, ..LagReading::default() } };
        let ago = now.saturating_sub(state.at);
        let observed_ago = Some(ago as f64 / 1e9);
        if ago > self.max_age {
            return LagReading { observed_ago, stale: true, ..LagReading::default() };
        }
        LagReading {
            items: state.items.map(|items| items.last),
            items_average: state.items.map(|items| items.average),
            seconds: state.seconds.map(|seconds| seconds.last),
            seconds_average: state.seconds.map(|seconds| seconds.average),
            observed_ago,
            stale: false,
        }
    }

    fn weight_after(&self, passed: u64) -> f64 {
        if self.half_life == 0 { 0.0 } else { (-(passed as f64) / self.half_life as f64).exp2() }
    }
}

impl Default for LagGauge {
    fn default() -> Self {
        Self::new()
    }
}

impl Lag {
    /// So many items wait.
    pub fn items(items: u64) -> Self {
        Self { items: Some(items), age: None }
    }

    /// So far behind in time.
    pub fn age(age: Duration) -> Self {
        Self { items: None, age: Some(age) }
    }

    /// The oldest waits for so long.
    pub fn and_age(self, age: Duration) -> Self {
        Self { age: Some(age), ..self }
    }
}

#[derive(Debug)]
struct State {
    at: u64,
    items: Option<Value>,
    seconds: Option<Value>,
}

#[derive(Clone, Copy, Debug)]
struct Value {
    last: f64,
    average: f64,
}
