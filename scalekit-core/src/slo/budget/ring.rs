//! Cumulative counts at evenly spaced times of the past, as far back as one window reaches.

use std::array;

/// A window is cut into this many cells; the nearest edge of a cell is within 1/288 = 0.347 % of its start.
pub(super) const CELLS: u64 = 144;
const EDGES: usize = CELLS as usize + 1;

/// Two cumulative counts. `total - good` may fall for a moment, since they are not read at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) good: u64,
    pub(super) total: u64,
}

/// Counts at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    pub(super) at: u64,
    pub(super) counts: Counts,
}

/// The counts at the last [`CELLS`] + 1 edges of cells.
#[derive(Debug)]
pub(super) struct Ring {
    cell: u64,
    edges: Box<[Counts; EDGES]>,
}

impl Ring {
    pub(super) fn new(window: u64) -> Self {
        Self { cell: window / CELLS, edges: Box::new(array::from_fn(|_| Counts::default())) }
    }

    /// Fills in the edges between two samples, as if the events between them had come evenly.
    pub(super) fn pass(&mut self, from: Sample, to: Sample) {
        let last = to.at / self.cell;
        // Of a long silence only the end is still of interest.
        let first = (from.at / self.cell + 1).max((last + 1).saturating_sub(EDGES as u64));
        for edge in first..=last {
            *self.edge(edge) = between(from, to, edge * self.cell);
        }
    }

    /// The counts at the edge nearest to the start of the window that ends now, unless that edge is before `start`.
    pub(super) fn at_start(&mut self, now: u64, start: u64) -> Option<Counts> {
        let since = now.checked_sub(self.cell * CELLS)?;
        let edge = (since + self.cell / 2) / self.cell;
        (edge * self.cell > start).then(|| *self.edge(edge))
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.edges)
    }

    fn edge(&mut self, edge: u64) -> &mut Counts {
        &mut self.edges[(edge % EDGES as u64) as usize]
    }
}

fn between(from: Sample, to: Sample, at: u64) -> Counts {
    let passed = u128::from(to.at - from.at);
    let part = |from: u64, to: u64, since: u64| {
        let share = u128::from(to - from) * u128::from(since) / passed.max(1);
        from + u64::try_from(share).unwrap_or(u64::MAX)
    };
    let since = at - from.at;
    Counts {
        good: part(from.counts.good, to.counts.good, since),
        total: part(from.counts.total, to.counts.total, since),
    }
}
