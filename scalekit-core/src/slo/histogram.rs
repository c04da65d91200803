//! Histograms of a latency: exact counts per exported bucket, fine ones for percentiles, and both in one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::bounds::Bounds;

/// Counts per exported bucket and the sum of all values; the count is the sum of the buckets.
#[derive(Debug)]
pub(super) struct BucketCounts {
    bounds: Arc<Bounds>,
    counts: Box<[AtomicU64]>,
    sum: Sum,
}

impl BucketCounts {
    pub(super) fn new(bounds: &Arc<Bounds>) -> Self {
        Self { bounds: bounds.clone(), counts: zeros(bounds.buckets()), sum: Sum::default() }
    }

    pub(super) fn bounds(&self) -> &Arc<Bounds> {
        &self.bounds
    }

    pub(super) fn record(&self, nanos: u64) {
        if let Some(count) = self.counts.get(self.bounds.bucket(nanos)) {
            count.fetch_add(1, Relaxed);
            self.sum.add(nanos);
        }
    }

    /// The count of each bucket, not cumulative.
    pub(super) fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(|count| count.load(Relaxed))
    }

    /// The sum of all values in seconds.
    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum.seconds()
    }
}

/// A sum of nanoseconds. It is exported, so it must not fall: a few values of an event without a time stamp, decades each,
/// are more than 64 bits.
#[derive(Debug, Default)]
struct Sum {
    nanos: AtomicU64,
    /// How often it was full.
    laps: AtomicU64,
}

impl Sum {
    #[inline]
    fn add(&self, nanos: u64) {
        if self.nanos.fetch_add(nanos, Relaxed).checked_add(nanos).is_none() {
            self.laps.fetch_add(1, Relaxed);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days of summed latency, then to 53 bits")]
    fn seconds(&self) -> f64 {
        const LAP: f64 = (1_u128 << 64) as f64 / 1e9;
        self.laps.load(Relaxed) as f64 * LAP + self.nanos.load(Relaxed) as f64 / 1e9
    }
}

/// 2^5 linear steps per power of two: a value is known to 1/64 of itself when its bucket's middle is reported.
const STEP_BITS: u32 = 5;
const STEPS: usize = 1 << STEP_BITS;
/// Everything below 2^10 ns, about a microsecond, is one bucket.
const FIRST_OCTAVE: u32 = 10;
/// Everything from 2^36 ns, about 68 s, is one bucket.
const END_OCTAVE: u32 = 36;
const FINE_BUCKETS: usize = (END_OCTAVE - FIRST_OCTAVE) as usize * STEPS + 2;

/// A log-linear histogram; the index comes from the bits of the integer.
#[derive(Debug)]
pub(super) struct FineHistogram {
    counts: Box<[AtomicU64]>,
}

impl FineHistogram {
    pub(super) fn new() -> Self {
        Self { counts: zeros(FINE_BUCKETS) }
    }

    pub(super) fn record(&self, nanos: u64) {
        if let Some(count) = self.counts.get(fine_index(nanos)) {
            count.fetch_add(1, Relaxed);
        }
    }
}

/// Exact and fine at once, where both count the same values: one addition and that of the sum.
///
/// The index of a value's fine bucket and that of its exported bucket both grow with the value, so their sum names
/// the pair: each fine bucket is cut where a bound lies in it, and both histograms are sums of neighbouring cells.
#[derive(Debug)]
pub(super) struct CutHistogram {
    bounds: Arc<Bounds>,
    cells: Box<[AtomicU64]>,
    sum: Sum,
}

impl CutHistogram {
    pub(super) fn new(bounds: &Arc<Bounds>) -> Self {
        let cells = zeros(FINE_BUCKETS + bounds.buckets() - 1);
        Self { bounds: bounds.clone(), cells, sum: Sum::default() }
    }

    pub(super) fn record(&self, nanos: u64) {
        if let Some(count) = self.cells.get(fine_index(nanos) + self.bounds.bucket(nanos)) {
            count.fetch_add(1, Relaxed);
            self.sum.add(nanos);
        }
    }

    /// The count of each exported bucket, not cumulative.
    pub(super) fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.bounds.buckets()];
        self.each(|_, bucket, count| counts[bucket] += count);
        counts
    }

    /// The sum of all values in seconds.
    pub(super) fn sum_seconds(&self) -> f64 {
        self.sum.seconds()
    }

    /// Each cell by its fine and its exported bucket.
    fn each(&self, mut cell: impl FnMut(usize, usize, u64)) {
        let mut bucket = 0;
        for (at, count) in self.cells.iter().enumerate() {
            cell(at - bucket, bucket, count.load(Relaxed));
            // The cell of a bound is the last one of its bucket; the next belongs to the same fine one.
            let bounds = self.bounds.nanos.get(bucket);
            bucket += usize::from(bounds.is_some_and(|bound| fine_index(*bound) + bucket == at));
        }
    }
}

/// Fine counts of several histograms, for their percentiles.
pub(super) struct Percentiles(Vec<u64>);

impl Percentiles {
    pub(super) fn new() -> Self {
        Self(vec![0; FINE_BUCKETS])
    }

    pub(super) fn add(&mut self, histogram: &FineHistogram) {
        for (sum, count) in self.0.iter_mut().zip(&histogram.counts) {
            *sum += count.load(Relaxed);
        }
    }

    pub(super) fn add_cut(&mut self, histogram: &CutHistogram) {
        histogram.each(|fine, _, count| self.0[fine] += count);
    }

    /// Those asked for in seconds, of all values added; none if there is none.
    pub(super) fn of<const N: usize>(&self, percents: [u64; N]) -> [Option<f64>; N] {
        let counts = &self.0;
        let total: u64 = counts.iter().sum();
        let at = |percent: u64| {
            // The smallest value with at least this share of all values at or below it.
            let rank = (total * percent).div_ceil(100).max(1);
            let mut seen = 0;
            let index = counts.iter().position(|count| {
                seen += count;
                seen >= rank
            });
            index.map(fine_middle_seconds)
        };
        percents.map(at)
    }
}

fn fine_index(nanos: u64) -> usize {
    let octave = nanos.checked_ilog2().unwrap_or(0);
    if octave < FIRST_OCTAVE {
        return 0;
    }
    if octave >= END_OCTAVE {
        return FINE_BUCKETS - 1;
    }
    let step = (nanos >> (octave - STEP_BITS)) as usize - STEPS;
    1 + (octave - FIRST_OCTAVE) as usize * STEPS + step
}

/// The middle of a bucket; of the last, open one its lower end.
#[expect(clippy::cast_precision_loss, reason = "below 2^37, exact")]
fn fine_middle_seconds(index: usize) -> f64 {
    let nanos = if index == 0 {
        1 << (FIRST_OCTAVE - 1)
    } else if index >= FINE_BUCKETS - 1 {
        1 << END_OCTAVE
    } else {
        let octave = (index - 1) / STEPS + FIRST_OCTAVE as usize;
        let width = 1_u64 << (octave - STEP_BITS as usize);
        (STEPS + (index - 1) % STEPS) as u64 * width + width / 2
    };
    nanos as f64 / 1e9
}

fn zeros(n: usize) -> Box<[AtomicU64]> {
    std::iter::repeat_with(|| AtomicU64::new(0)).take(n).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percentiles<const N: usize>(histogram: &FineHistogram, percents: [u64; N]) -> [Option<f64>; N] {
        let mut all = Percentiles::new();
        all.add(histogram);
        all.of(percents)
    }

    #[test]
    fn an_empty_histogram_has_no_percentile() {
        assert_eq!(percentiles(&FineHistogram::new(), [50]), [None]);
    }

    #[test]
    fn the_ends_saturate() {
        let fine = FineHistogram::new();
        fine.record(0);
        fine.record(u64::MAX);
        let [low, high] = percentiles(&fine, [50, 99]);
        assert_eq!((low, high), (Some(512e-9), Some(68.719_476_736)));
    }

    #[test]
    fn a_sum_beyond_64_bits_goes_on() {
        let sum = Sum::default();
        let mut last = 0.0;
        for decades in 1..40 {
            sum.add(1_800_000_000_000_000_000);
            let exact = f64::from(decades) * 1.8e9;
            assert!((sum.seconds() - exact).abs() < exact * 1e-12 && sum.seconds() > last, "{decades}");
            last = sum.seconds();
        }
    }

    /// Around the edges of what there is, where an index would be off by one.
    fn nanos() -> impl Strategy<Value = u64> {
        let near = |at: u64| (at.saturating_sub(2)..=at.saturating_add(2)).boxed();
        prop_oneof![
            any::<u64>(),
            (0_u64..60).prop_map(|bits| 1 << bits).prop_flat_map(near),
            (1_u64..10_001).prop_map(|ms| ms * 1_000_000).prop_flat_map(near),
        ]
    }

    proptest! {
        #[test]
        fn a_value_is_known_to_a_sixty_fourth(nanos in 1_024_u64..(1 << 36)) {
            let fine = FineHistogram::new();
            fine.record(nanos);
            let [p] = percentiles(&fine, [50]);
            let (got, exact) = (p.unwrap(), nanos as f64 / 1e9);
            prop_assert!((got - exact).abs() <= exact / 64.0 + 1e-9, "{exact} came back as {got}");
        }

        #[test]
        fn percentiles_match_a_sorted_list(mut values in prop::collection::vec(1_024_u64..(1 << 36), 1..300)) {
            let parts = [FineHistogram::new(), FineHistogram::new()];
            values.iter().enumerate().for_each(|(n, v)| parts[n % 2].record(*v));
            values.sort_unstable();
            let mut all = Percentiles::new();
            parts.iter().for_each(|part| all.add(part));
            for (percent, got) in [50, 95, 99].into_iter().zip(all.of([50, 95, 99])) {
                let exact = values[(values.len() * percent).div_ceil(100) - 1] as f64 / 1e9;
                prop_assert!((got.unwrap() - exact).abs() <= exact / 64.0 + 1e-9);
            }
        }

        #[test]
        fn cut_cells_say_what_both_histograms_say(
            thresholds in prop::collection::vec(nanos(), 0..6),
            values in prop::collection::vec(nanos(), 1..200),
        ) {
            let bounds = Arc::new(Bounds::with_thresholds(thresholds.iter().copied()));
            let (cut, fine) = (CutHistogram::new(&bounds), FineHistogram::new());
            let exact = BucketCounts::new(&bounds);
            for nanos in values.iter().chain(&thresholds).chain(&bounds.nanos) {
                cut.record(*nanos);
                fine.record(*nanos);
                exact.record(*nanos);
            }
            prop_assert_eq!(cut.counts(), exact.counts().collect::<Vec<_>>());
            prop_assert_eq!(cut.sum_seconds(), exact.sum_seconds());
            let (mut of_cut, mut of_fine) = (Percentiles::new(), Percentiles::new());
            of_cut.add_cut(&cut);
            of_fine.add(&fine);
            prop_assert_eq!(of_cut.0, of_fine.0);
        }

        #[test]
        fn a_bucket_is_found_as_by_looking_at_every_bound(
            thresholds in prop::collection::vec(nanos(), 0..6),
            nanos in nanos(),
        ) {
            let bounds = Bounds::with_thresholds(thresholds.into_iter());
            prop_assert_eq!(bounds.bucket(nanos), bounds.nanos.iter().filter(|bound| **bound < nanos).count());
        }
    }
}
