//! How many events a second go out, over the last minute.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What is remembered.
const WINDOW: Duration = Duration::from_secs(60);
/// Counts that are closer together are one.
const GRAIN: Duration = Duration::from_secs(1);

/// Counts events by the second.
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<VecDeque<(Instant, u64)>>);

impl Meter {
    /// That many more went out now.
    pub(super) fn count(&self, events: u64) {
        let now = Instant::now();
        let mut counts = self.lock();
        while counts.front().is_some_and(|(at, _)| now.duration_since(*at) > WINDOW) {
            counts.pop_front();
        }
        match counts.back_mut() {
            Some((at, count)) if now.duration_since(*at) < GRAIN => *count += events,
            _ => counts.push_back((now, events)),
        }
    }

    /// The mean over the last minute, or since the first count if that is later.
    pub(super) fn per_second(&self) -> f64 {
        let now = Instant::now();
        let counts = self.lock();
        let recent = counts.iter().filter(|(at, _)| now.duration_since(*at) <= WINDOW);
        let (mut events, mut since) = (0, Duration::ZERO);
        for (at, count) in recent {
            events += count;
            since = since.max(now.duration_since(*at));
        }
        events as f64 / since.max(GRAIN).as_secs_f64()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_minute() {
        let meter = Meter::default();
        for _ in 0..120 {
            meter.count(10);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((9.0..=11.0).contains(&meter.per_second()), "{}", meter.per_second());
        tokio::time::advance(WINDOW).await;
        assert!(meter.per_second() < 0.5, "{}", meter.per_second());
    }
}
