//! Pauses between attempts: longer each time, and random, so that those who failed together do not return together.

use std::time::Duration;

/// Doubling pauses, each drawn evenly from the upper half of its step.
#[derive(Debug)]
pub(crate) struct Backoff {
    step: Duration,
    most: Duration,
}

impl Backoff {
    /// The first pause is at most `first`, none is longer than `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { step: first, most }
    }

    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.step.min(self.most);
        self.step = step.saturating_mul(2);
        // Without randomness the pauses are still right, only in step with others'.
        let dice = getrandom::u32().unwrap_or(u32::MAX);
        step.mul_f64(0.5 + 0.5 * f64::from(dice) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_bound_and_stay_there() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let pauses: Vec<_> = (0..12).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= Duration::from_millis(100) && pauses[0] <= Duration::from_millis(200));
        assert!(pauses[6..].iter().all(|pause| (2.5..=5.0).contains(&pause.as_secs_f64())), "{pauses:?}");
    }
}
