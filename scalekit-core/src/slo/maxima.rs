//! The highest value of each of the last 60 seconds, kept so that readers do not take it from each other.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const CELLS: usize = 64;
/// A cell is 2^30 ns, 1.07 s.
const CELL_BITS: u32 = 30;
const VALUE_BITS: u32 = 32;

/// One word per cell of time, `cell << 32 | value`, reused after 64 cells.
#[derive(Debug)]
pub(super) struct Maxima([AtomicU64; CELLS]);

impl Maxima {
    /// How far back [`over`](Self::over) looks at most.
    pub(super) const SECONDS: u64 = 60;

    pub(super) fn new() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Usually a load and a comparison; a write only if the value is a new maximum of its cell.
    #[inline]
    pub(super) fn record(&self, now: u64, value: u64) {
        let word = pack(now >> CELL_BITS, value);
        let cell = self.cell(now >> CELL_BITS);
        if cell.load(Relaxed) < word {
            // Within a cell the larger value is the larger word, and so is any value of a later cell: a thread that
            // comes a lap late changes nothing.
            cell.fetch_max(word, Relaxed);
        }
    }

    /// The highest value recorded since the start of the cell that lies this many seconds before now.
    pub(super) fn over(&self, now: u64, window_s: u64) -> u64 {
        let window = window_s.min(Self::SECONDS) * 1_000_000_000;
        let (first, last) = (now.saturating_sub(window) >> CELL_BITS, now >> CELL_BITS);
        let of = |cell: u64| {
            let word = self.cell(cell).load(Relaxed);
            if word >> VALUE_BITS == pack(cell, 0) >> VALUE_BITS { word & u64::from(u32::MAX) } else { 0 }
        };
        (first..=last).map(of).max().unwrap_or(0)
    }

    #[inline]
    fn cell(&self, cell: u64) -> &AtomicU64 {
        &self.0[(cell % CELLS as u64) as usize]
    }
}

#[inline]
fn pack(cell: u64, value: u64) -> u64 {
    (cell << VALUE_BITS) | value.min(u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const CELL: u64 = 1 << CELL_BITS;

    #[test]
    fn each_cell_has_its_own_maximum_and_reading_takes_nothing() {
        let maxima = Maxima::new();
        for (cell, value) in [(10, 3), (10, 7), (10, 5), (12, 2), (40, 1)] {
            maxima.record(cell * CELL + 17, value);
        }
        let now = 40 * CELL + 100;
        for _scraper in 0..2 {
            assert_eq!(maxima.over(now, 0), 1);
            assert_eq!(maxima.over(now, 28), 1);
            assert_eq!(maxima.over(now, 30), 2);
            assert_eq!(maxima.over(now, 32), 7);
        }
        assert_eq!(maxima.over(now + CELL, 0), 0);
    }

    #[test]
    fn a_lap_later_an_old_maximum_is_gone_and_a_late_writer_changes_nothing() {
        let maxima = Maxima::new();
        maxima.record(5 * CELL, 900);
        maxima.record((5 + 64) * CELL, 1);
        maxima.record(5 * CELL, 1_000);
        assert_eq!(maxima.over((5 + 64) * CELL, 60), 1);
        maxima.record(80 * SECOND, u64::MAX);
        assert_eq!(maxima.over(80 * SECOND, 60), u64::from(u32::MAX), "saturates");
    }
}
