//! A latency histogram in 256 bytes.

/// 4 steps per power of two, from 2^20 ns (1.05 ms) to 2^36 ns (68.7 s); the first and the last take what is outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail([u32; BUCKETS]);

const BUCKETS: usize = 64;
const FIRST_OCTAVE: u32 = 20;
const STEP_BITS: u32 = 2;
const STEPS: usize = 1 << STEP_BITS;

impl Tail {
    pub(super) fn new() -> Self {
        Self([0; BUCKETS])
    }

    /// The bucket of a time.
    #[inline]
    pub(super) fn bucket(nanos: u64) -> usize {
        let octave = nanos.checked_ilog2().unwrap_or(0);
        if octave < FIRST_OCTAVE {
            return 0;
        }
        let step = (nanos >> (octave - STEP_BITS)) as usize - STEPS;
        ((octave - FIRST_OCTAVE) as usize * STEPS + step).min(BUCKETS - 1)
    }

    #[inline]
    pub(super) fn count(&mut self, bucket: usize) {
        let count = &mut self.0[bucket % BUCKETS];
        *count = count.saturating_add(1);
    }

    /// 95 % ended within these seconds, if the values of a bucket are spread evenly in it.
    pub(super) fn p95(&self) -> Option<f64> {
        let total: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let rank = total as f64 * 0.95;
        let mut before = 0.0;
        for (index, count) in self.0.iter().enumerate() {
            let count = f64::from(*count);
            if count > 0.0 && before + count >= rank {
                let share = (rank - before) / count;
                return Some((lower(index) + share * (lower(index + 1) - lower(index))) / 1e9);
            }
            before += count;
        }
        None
    }

    pub(super) fn halve(&mut self) {
        self.0.iter_mut().for_each(|count| *count /= 2);
    }
}

/// Where a bucket begins, in nanoseconds; the first begins at 0.
fn lower(index: usize) -> f64 {
    if index == 0 {
        return 0.0;
    }
    (((STEPS + index % STEPS) as u64) << (index / STEPS + (FIRST_OCTAVE - STEP_BITS) as usize)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_its_bucket() {
        for nanos in (0..200_000).map(|step| 1_048_576 + step * 340_000).chain([0, 1, 1 << 20, (1 << 36) - 1])
        {
            let at = Tail::bucket(nanos);
            assert!(lower(at) <= nanos as f64 && (nanos as f64) < lower(at + 1), "{nanos} in {at}");
        }
        assert_eq!(Tail::bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_has_no_percentile() {
        let mut tail = Tail::new();
        assert_eq!(tail.p95(), None);
        tail.count(Tail::bucket(40_000_000));
        assert!((0.033..0.042).contains(&tail.p95().unwrap()));
        tail.halve();
        assert_eq!(tail.p95(), None);
    }
}
