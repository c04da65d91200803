//! What a relay remembers of open windows, so that a large one is looked through once for many batches.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// Bounds of how many lanes one statement looks into.
const NARROWEST: i64 = 1;
const FIRST: i64 = 8;
const WIDEST: i64 = 64;
/// A look that took longer is made narrower, so that it stays well within the bound of a step.
const SLOW: Duration = Duration::from_millis(500);
/// Most events of a lane that are remembered.
pub(super) const REMEMBERED: i64 = 20_000;

/// The events of open windows, by lane.
#[derive(Debug)]
pub struct Known {
    windows: HashMap<u8, Window>,
    width: i64,
}

/// The events of one window, or its first ones.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) epoch: i64,
    pub(super) tick: i64,
    /// Transaction and seq, in the order of seq.
    pub(super) places: VecDeque<(i64, i64)>,
    /// Whether the window has no more.
    pub(super) all: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self { windows: HashMap::new(), width: FIRST }
    }
}

impl Known {
    /// The lanes that need not be looked into.
    pub(super) fn lanes(&self) -> Vec<i16> {
        self.windows.keys().copied().map(i16::from).collect()
    }

    pub(super) fn width(&self) -> i64 {
        self.width
    }

    /// Learns from how long a look has taken; called before it is known whether it succeeds.
    pub(super) fn looking(&mut self) -> Looking {
        let full = self.width;
        self.width = (full / 2).max(NARROWEST);
        Looking { started: Instant::now(), full }
    }

    pub(super) fn looked(&mut self, looking: &Looking) {
        if looking.started.elapsed() < SLOW {
            self.width = (looking.full * 2).min(WIDEST);
        }
    }

    pub(super) fn learn(&mut self, lane: u8, window: Window) {
        self.windows.insert(lane, window);
    }

    /// The lane's events after `seq`, if it is still this window and some are known or it has no more.
    pub(super) fn after(&mut self, lane: u8, epoch: i64, tick: i64, seq: i64) -> Option<&Window> {
        let window = self.windows.get_mut(&lane)?;
        while window.places.front().is_some_and(|(_, place)| *place <= seq) {
            window.places.pop_front();
        }
        let same = window.epoch == epoch && window.tick == tick;
        if same && (window.all || !window.places.is_empty()) {
            return self.windows.get(&lane);
        }
        self.windows.remove(&lane);
        None
    }

    /// Forgets windows that are closed or another's.
    pub(super) fn keep(&mut self, open: impl Fn(u8) -> bool) {
        self.windows.retain(|lane, _| open(*lane));
    }
}

/// A look under way.
#[derive(Debug)]
pub(super) struct Looking {
    started: Instant,
    full: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(places: std::ops::Range<i64>, all: bool) -> Window {
        Window { epoch: 1, tick: 9, places: places.map(|seq| (seq * 10, seq)).collect(), all }
    }

    #[test]
    fn what_was_acknowledged_is_forgotten_and_another_window_is_not_mistaken_for_it() {
        let mut known = Known::default();
        known.learn(3, window(1..5, false));
        assert_eq!(known.after(3, 1, 9, 2).unwrap().places, [(30, 3), (40, 4)]);
        assert!(known.after(3, 1, 9, 4).is_none(), "there may be more");
        known.learn(3, window(1..5, true));
        assert!(known.after(3, 1, 9, 4).unwrap().places.is_empty());
        assert!(known.after(3, 2, 9, 0).is_none(), "another owner came between");
        known.learn(3, window(1..5, true));
        assert!(known.after(3, 1, 10, 0).is_none(), "another window");
        assert!(known.lanes().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_is_slow_or_fails_is_made_narrower() {
        let mut known = Known::default();
        for expected in [16, 32, 64, 64] {
            let looking = known.looking();
            known.looked(&looking);
            assert_eq!(known.width(), expected);
        }
        let looking = known.looking();
        tokio::time::advance(SLOW).await;
        known.looked(&looking);
        assert_eq!(known.width(), 32);
        for expected in [16, 8, 4, 2, 1, 1] {
            known.looking();
            assert_eq!(known.width(), expected);
        }
    }
}
