//! Random tenants as they are in life: few large ones and a long tail of small ones.

use scalekit_testkit::Rng;

/// In `[0, 1)`.
pub(crate) fn unit(random: &mut Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Ranks from 0, rank `r` with a weight of `(r + 1)^-s`.
pub(crate) struct Zipf(Vec<f64>);

impl Zipf {
    pub(crate) fn new(ranks: u32, s: f64) -> Self {
        let mut sum = 0.0;
        let mut add = |rank: u32| {
            sum += f64::from(rank + 1).powf(-s);
            sum
        };
        Self((0..ranks).map(&mut add).collect())
    }

    pub(crate) fn rank(&self, random: &mut Rng) -> usize {
        let at = unit(random) * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum < at)
    }
}
