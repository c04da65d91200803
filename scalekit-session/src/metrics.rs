//! What happened, as numbers that only grow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Each number once: its name, and what it counts.
macro_rules! counted {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A snapshot of what happened to the sessions of one [`Sessions`](crate::Sessions) since it was built.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Whether the store did not answer the last call: routes that need a session answer 503.
            pub degraded: bool,
            /// Whether another node signs with a key that this one refuses, or refuses the one that this one signs with:
            /// users lose their sessions between the two.
            pub rings_differ: bool,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)+
            degraded: AtomicBool,
            rings_differ: AtomicBool,
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Metrics {
                Metrics {
                    $($name: self.$name.load(Ordering::Relaxed),)+
                    degraded: self.degraded.load(Ordering::Relaxed),
                    rings_differ: self.rings_differ.load(Ordering::Relaxed),
                }
            }
        }

        impl Metrics {
            /// The numbers that only grow, for an exporter: the name of each, what it counts, and how many.
            ///
            /// ```
            /// # use scalekit_core::KeyRing;
            /// # use scalekit_session::{MemoryStore, Sessions};
            /// # let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate()?).build()?;
            /// let mut text = String::new();
            /// for (name, help, value) in sessions.metrics().counters() {
            ///     text.push_str(&format!("# HELP shop_session_{name}_total {help}\n"));
            ///     text.push_str(&format!("# TYPE shop_session_{name}_total counter\n"));
            ///     text.push_str(&format!("shop_session_{name}_total {value}\n"));
            /// }
            /// # assert!(text.contains("shop_session_loads_total 0"));
            /// # Ok::<(), scalekit_core::Error>(())
            /// ```
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+).trim_ascii(), self.$name)),+].into_iter()
            }
        }
    };
}

counted! {
    /// Sessions read from the store.
    loads,
    /// Bytes of the fields of the sessions that were read; over the loads, the mean size.
    loaded_bytes,
    /// Commits that arrived: changes, new sessions, sign-ins, sign-outs.
    commits,
    /// Writes that were dropped because the session had ended.
    gone,
    /// Re-runs of an update that another request had overtaken.
    conflicts,
    /// Calls that the store did not answer, or not in time.
    unavailable,
    /// Copies that were shown because the store did not answer.
    stale,
    /// Fields that could not be read and say that this is to be ignored.
    undecodable,
    /// Responses that were to be kept by shared caches, and were made private because they carry a session's cookie.
    made_private,
    /// Reads of a session that was larger than the soft size.
    large,
    /// Sessions that got a new secret without a sign-in.
    rotations,
    /// Requests with a secret that had been rotated, its grace over: somebody has kept or taken it.
    reused,
    /// Cookies of the right name that none of our keys has signed.
    forged,
}

impl Counters {
    pub(crate) fn rings_differ(&self, differ: bool) {
        self.rings_differ.store(differ, Ordering::Relaxed);
    }

    /// Notes whether the store has answered.
    pub(crate) fn answered(&self, answered: bool) {
        // Mostly read, seldom written: it is shared by all cores.
        if self.degraded.load(Ordering::Relaxed) == answered {
            self.degraded.store(!answered, Ordering::Relaxed);
        }
    }
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// Lets one line a second into the log: what clients can cause must not fill it.
#[derive(Debug, Default)]
pub(crate) struct EachSecond(AtomicU64);

impl EachSecond {
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        now_ms.abs_diff(last) >= 1_000
            && self.0.compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_named_once_and_told() {
        let counters = Counters::default();
        add(&counters.loaded_bytes, 7);
        counters.answered(false);
        let metrics = counters.snapshot();
        let all: Vec<_> = metrics.counters().collect();
        assert_eq!(
            all[1],
            (
                "loaded_bytes",
                "Bytes of the fields of the sessions that were read; over the loads, the mean size.",
                7
            )
        );
        assert_eq!(all.iter().map(|one| one.0).collect::<std::collections::BTreeSet<_>>().len(), all.len());
        assert!(metrics.degraded);
        counters.answered(true);
        assert!(!counters.snapshot().degraded);
    }

    #[test]
    fn one_line_a_second_whichever_way_the_clock_goes() {
        let lines = EachSecond::default();
        let due: Vec<bool> =
            [5_000, 5_001, 5_999, 6_000, 6_500, 100, 200, 1_100].map(|now| lines.is_due(now)).into();
        assert_eq!(due, [true, false, false, true, false, true, false, true]);
    }
}
