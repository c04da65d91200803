//! How far behind a relay is, and how many would keep up: numbers for an autoscaler.

use std::time::Duration;

use serde::Serialize;

/// What waits in a database's outbox.
///
/// ```
/// let lag = scalekit_outbox::Lag::default();
/// assert_eq!((lag.seconds, lag.events), (0.0, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// The age of the oldest event that no sink has confirmed; 0 if there is none.
    pub seconds: f64,
    /// How many events no sink has confirmed; counting stops at 10,001.
    pub events: u64,
    /// Confirmed events per second of the relay that was asked, over the last minute.
    pub rate: f64,
}

/// The body of an autoscaler's JSON endpoint (KEDA's metrics-api scaler reads any of the fields).
///
/// ```
/// use scalekit_outbox::{Lag, Scaling, ScalingTarget};
///
/// let lag = Lag { seconds: 4.0, events: 6_000, rate: 100.0 };
/// let scaling = Scaling::of([lag], &ScalingTarget::default());
/// assert_eq!(scaling.desired_replicas, 2); // 6,000 events in 30 s at 100 a second each
/// assert_eq!(scaling.drain_eta_seconds, Some(60.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scaling {
    /// The oldest waiting event's age, over all databases.
    pub lag_seconds: f64,
    /// Waiting events of all databases, each counted to 10,001 at most.
    pub lag_events: u64,
    /// How long the present rate would take; `None` while nothing moves.
    pub drain_eta_seconds: Option<f64>,
    /// How many processes would drain it within the target.
    pub desired_replicas: u32,
}

/// What an autoscaler aims at.
///
/// ```
/// use std::time::Duration;
/// let target = scalekit_outbox::ScalingTarget::default().with_drain(Duration::from_secs(10)).with_replicas(2, 20);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ScalingTarget {
    drain: Duration,
    least: u32,
    most: u32,
}

impl Default for ScalingTarget {
    fn default() -> Self {
        Self { drain: Duration::from_secs(30), least: 1, most: 64 }
    }
}

impl ScalingTarget {
    /// Within which time a backlog should be gone; 30 s unless said otherwise.
    #[must_use]
    pub fn with_drain(mut self, drain: Duration) -> Self {
        self.drain = drain;
        self
    }

    /// The bounds of the answer; 1 to 64 unless said otherwise.
    #[must_use]
    pub fn with_replicas(mut self, least: u32, most: u32) -> Self {
        (self.least, self.most) = (least, most.max(least));
        self
    }
}

impl Scaling {
    /// Sums up the relays of one process, one per database.
    pub fn of(lags: impl IntoIterator<Item = Lag>, target: &ScalingTarget) -> Self {
        let (mut seconds, mut events, mut rate) = (0.0_f64, 0_u64, 0.0_f64);
        for lag in lags {
            seconds = seconds.max(lag.seconds);
            events = events.saturating_add(lag.events);
            rate += lag.rate;
        }
        let waiting = events as f64;
        let moving = rate > 0.0;
        let desired = match (events, moving) {
            (0, _) => target.least,
            (_, true) => (waiting / (rate * target.drain.as_secs_f64().max(1e-3))).ceil() as u32,
            // Nothing moves: more processes help only if the backlog is not the sink's fault.
            (_, false) => target.least.saturating_add(1),
        };
        Self {
            lag_seconds: seconds,
            lag_events: events,
            drain_eta_seconds: (moving || events == 0)
                .then(|| if events == 0 { 0.0 } else { waiting / rate }),
            desired_replicas: desired.clamp(target.least, target.most),
        }
    }
}
