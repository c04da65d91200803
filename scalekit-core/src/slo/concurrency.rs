//! How many requests are in flight: now, at most, and integrated over time, which no scrape can miss.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Mutex, PoisonError};

use super::maxima::Maxima;

/// The low bits of the word count the requests in flight, up to a million.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// The high bits sum up times in units of 1,024 ns.
const UNIT_BITS: u32 = 10;
const SUM_BITS: u32 = u64::BITS - COUNT_BITS;
/// How far a read may be behind an earlier one whose clock was ahead: 12 days of one request.
const SLACK: u64 = 1 << 40;

/// Requests in flight. Times are nanoseconds since any epoch that all callers share.
///
/// With S = sum of the times of all ends - sum of the times of all starts, and n requests in flight, the integral at
/// t is S + n * t: a start and an end each change S and n together and nothing else. The two are useless apart (a
/// torn pair is wrong by a whole uptime), so they share one word, and a start and an end are **one wait-free addition**
/// each. S is kept modulo 2^44 units of 1.024 us; reads follow it beyond that.
///
/// Guarantees, whatever the threads do: the integral never decreases, and with no call under way it is exactly the
/// sum of the requests' times up to then on a clock that ticks every 1,024 ns. While calls are under way it may be
/// ahead of that by the time that passed between a caller's look at its clock and the end of its call.
///
/// Limits: 1,048,575 requests at once, and a read at least every 16 million request-seconds (1,000 in flight for 4
/// hours); of a longer silence a multiple of 18 million is missing.
#[derive(Debug)]
pub(super) struct Concurrency {
    /// `S << 20 | n`.
    word: AtomicU64,
    maxima: Maxima,
    /// What reads have seen, unwrapped.
    seen: Mutex<Seen>,
}

/// What [`Concurrency::read`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct InFlight {
    /// Requests that have entered and not left.
    pub(super) now: u64,
    /// Request-nanoseconds spent so far.
    pub(super) integral_ns: u128,
}

impl Concurrency {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(0), maxima: Maxima::new(), seen: Mutex::default() }
    }

    /// A request starts.
    #[inline]
    pub(super) fn enter(&self, now: u64) {
        let before = self.word.fetch_add(1_u64.wrapping_sub(sum_part(now)), Relaxed);
        self.maxima.record(now, (before & COUNT) + 1);
    }

    /// A request that entered ends.
    #[inline]
    pub(super) fn leave(&self, now: u64) {
        // Release, so that who reads 0 here also reads what the caller counted before.
        let before = self.word.fetch_add(sum_part(now).wrapping_sub(1), Release);
        // What stood until now stood in the second that it ends in, too.
        self.maxima.record(now, before & COUNT);
    }

    /// The requests in flight and the integral up to now.
    pub(super) fn read(&self, now: u64) -> InFlight {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let word = self.word.load(Acquire);
        let count = word & COUNT;
        let integral = (word >> COUNT_BITS).wrapping_add(count.wrapping_mul(now >> UNIT_BITS));
        InFlight { now: count, integral_ns: seen.advance(integral) << UNIT_BITS }
    }

    /// The requests in flight now.
    pub(super) fn in_flight(&self) -> u64 {
        self.word.load(Acquire) & COUNT
    }

    /// The most requests in flight at once within this many seconds before now, at most 60.
    ///
    /// Reading it changes nothing, so that any number of readers see the same; each asks for its own interval. The
    /// start of the interval is rounded down to a cell of 1.07 s, never up: no maximum is missed.
    pub(super) fn max_over(&self, now: u64, window_s: u64) -> u64 {
        self.maxima.over(now, window_s).max(self.in_flight())
    }
}

/// The integral beyond 44 bits, and the highest ever said.
#[derive(Debug, Default)]
struct Seen {
    exact: i128,
    highest: u128,
}

impl Seen {
    /// Takes the integral modulo 2^44 units.
    fn advance(&mut self, integral: u64) -> u128 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "modulo 2^44 is what is meant"
        )]
        let step = integral.wrapping_sub(self.exact as u64).wrapping_add(SLACK) & ((1 << SUM_BITS) - 1);
        self.exact += i128::from(step) - i128::from(SLACK);
        self.highest = self.highest.max(u128::try_from(self.exact).unwrap_or(0));
        self.highest
    }
}

#[inline]
fn sum_part(now: u64) -> u64 {
    (now >> UNIT_BITS) << COUNT_BITS
}

#[cfg(test)]
mod tests;
