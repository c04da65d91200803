//! Requests per second of the last minute, from looks at a counter that costs requests nothing.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

const SECOND: u64 = 1_000_000_000;
const WINDOW: u64 = 60 * SECOND;

/// Looks at a growing counter, the oldest first: those of the last minute and the one before them.
#[derive(Debug, Default)]
pub(super) struct Rate(Mutex<VecDeque<(u64, u64)>>);

impl Rate {
    /// What the counter has grown by per second, from the first look within a minute before `now`; 0 at the first
    /// look. Any number of readers share the looks, of which one a second is kept.
    pub(super) fn read(&self, now: u64, count: u64) -> f64 {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while looks.get(1).is_some_and(|(at, _)| *at + WINDOW <= now) {
            looks.pop_front();
        }
        let first = looks.front().copied();
        if looks.back().is_none_or(|(at, _)| *at + SECOND <= now) {
            looks.push_back((now, count));
        }
        match first {
            Some((at, before)) if at < now => {
                count.saturating_sub(before) as f64 * SECOND as f64 / (now - at) as f64
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_growth_of_the_last_minute_however_many_read() {
        let rate = Rate::default();
        assert!(rate.read(0, 0).abs() < 1e-9);
        for second in 1..300 {
            // 10 a second, then 100.
            let count = |second: u64| 10 * second.min(200) + 100 * second.saturating_sub(200);
            for reader in 0..3 {
                let got = rate.read(second * SECOND + reader, count(second));
                let from = second.saturating_sub(60);
                let exact = (count(second) - count(from)) as f64 / (second - from) as f64;
                assert!((got - exact).abs() <= exact * 0.02, "{second}: {got} for {exact}");
            }
        }
        assert!(rate.0.lock().unwrap().len() <= 62);
    }
}
