//! Bucket bounds in whole nanoseconds, and the one text each of them has as an `le` label.

use std::time::Duration;

const BITS: usize = u64::BITS as usize;

/// The bounds of OpenTelemetry's `http.server.request.duration`, in milliseconds.
const SEMCONV_MS: [u64; 14] = [5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000];

/// Sorted, inclusive upper bounds; the bucket above the last one is `+Inf`.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) nanos: Vec<u64>,
    /// For each number of bits that a duration can have, the first bound that is not below all such durations.
    first: [usize; BITS + 1],
    texts: Vec<String>,
}

impl Bounds {
    /// The conventional bounds plus T and 4T of every threshold, so that each objective can be read off exactly.
    pub(super) fn with_thresholds(thresholds: impl Iterator<Item = u64>) -> Self {
        let mut nanos: Vec<u64> = SEMCONV_MS.iter().map(|ms| ms * 1_000_000).collect();
        for threshold in thresholds {
            nanos.push(threshold);
            nanos.push(threshold.saturating_mul(4));
        }
        nanos.sort_unstable();
        nanos.dedup();
        let texts = nanos.iter().map(|n| seconds_text(*n)).collect();
        let first = std::array::from_fn(|bits| {
            let least = bits.checked_sub(1).map_or(0, |shift| 1 << shift);
            nanos.partition_point(|bound| *bound < least)
        });
        Self { nanos, first, texts }
    }

    /// The number of buckets, `+Inf` included.
    pub(super) fn buckets(&self) -> usize {
        self.nanos.len() + 1
    }

    /// The bucket of a duration: the first whose bound is not below it.
    pub(super) fn bucket(&self, nanos: u64) -> usize {
        // Between two powers of two there are a few bounds at most, so this is shorter than a search.
        let first = self.first[BITS - nanos.leading_zeros() as usize];
        first + self.nanos[first..].iter().take_while(|bound| **bound < nanos).count()
    }

    /// The `le` text of a bucket.
    pub(super) fn text(&self, bucket: usize) -> &str {
        self.texts.get(bucket).map_or("+Inf", String::as_str)
    }
}

/// Whole nanoseconds, saturating after 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds as exact decimal text with a fraction, as Prometheus 3 and OpenMetrics write it: `1.0`, `0.3`.
pub(super) fn seconds_text(nanos: u64) -> String {
    let fraction = format!("{:09}", nanos % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    format!("{}.{}", nanos / 1_000_000_000, if fraction.is_empty() { "0" } else { fraction })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_exact_and_canonical() {
        for (nanos, text) in [
            (5_000_000, "0.005"),
            (300_000_000, "0.3"),
            (1_000_000_000, "1.0"),
            (10_000_000_000, "10.0"),
            (14_400_000_000_000, "14400.0"),
            (100_000, "0.0001"),
            (1_000_000_001, "1.000000001"),
        ] {
            assert_eq!(seconds_text(nanos), text);
        }
    }

    #[test]
    fn the_text_of_a_bound_is_what_a_float_parser_prints_again() {
        for ms in 1..=40_000u64 {
            let text = seconds_text(ms * 1_000_000);
            assert_eq!(format!("{:?}", text.parse::<f64>().unwrap()), text);
        }
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let bounds = Bounds::with_thresholds([300_000_000, 300_000_000, 75_000_000].into_iter());
        assert_eq!(bounds.buckets(), 14 + 2 + 1, "of 75 ms, 300 ms and 1.2 s two are new; and +Inf");
        for bucket in 0..bounds.buckets() - 1 {
            let bound = bounds.nanos[bucket];
            assert_eq!(bounds.bucket(bound - 1), bucket);
            assert_eq!(bounds.bucket(bound), bucket);
            assert_eq!(bounds.bucket(bound + 1), bucket + 1);
        }
        assert_eq!(bounds.text(bounds.bucket(u64::MAX)), "+Inf");
    }
}
