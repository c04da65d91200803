//! The integral against integers, under threads, and under bursts that a gauge does not see.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;

/// Nanoseconds on a clock that ticks every 1,024.
fn ticks(from: u64, to: u64) -> u128 {
    u128::from((to >> 10) - (from >> 10)) << 10
}

proptest! {
    #[test]
    fn it_is_the_sum_of_all_times(
        // Time passed, and which of the running ones ends, or a start.
        steps in prop::collection::vec((0..10 * S, prop::option::of(any::<prop::sample::Index>())), 1..300),
        epoch in prop_oneof![Just(0), 0..1_000 * S, Just(u64::MAX / 2)],
    ) {
        let meter = Concurrency::new();
        let (mut now, mut done, mut running): (u64, u128, Vec<u64>) = (epoch, 0, Vec::new());
        let mut peaks: Vec<(u64, u64)> = Vec::new();
        for (passed, end) in steps {
            // What stood until now also stood in the cell in which it changes.
            peaks.push((now >> 30, running.len() as u64));
            now += passed;
            peaks.push((now >> 30, running.len() as u64));
            match end {
                Some(which) if !running.is_empty() => {
                    meter.leave(now);
                    done += ticks(running.swap_remove(which.index(running.len())), now);
                }
                _ => {
                    meter.enter(now);
                    running.push(now);
                }
            }
            peaks.push((now >> 30, running.len() as u64));
            let truth = done + running.iter().map(|start| ticks(*start, now)).sum::<u128>();
            let got = meter.read(now);
            prop_assert_eq!(got, InFlight { now: running.len() as u64, integral_ns: truth });

            for window in [0_u64, 1, 15, 60] {
                let first = now.saturating_sub(window * S) >> 30;
                let truth = peaks.iter().filter(|(cell, _)| *cell >= first).map(|(_, n)| *n).max().unwrap();
                prop_assert_eq!(meter.max_over(now, window), truth, "over {} s", window);
            }
        }
    }
}

#[test]
fn eight_threads_and_a_reader_agree_in_the_end() {
    const EACH: u64 = 100_000;
    let meter = Concurrency::new();
    let (epoch, spent, most, finished) =
        (Instant::now(), AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    // A long uptime before the first request: a torn pair is off by all of it.
    let uptime = 1_000_000 * S;
    let clock = || uptime + u64::try_from(epoch.elapsed().as_nanos()).unwrap();

    thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|thread| {
                let (meter, spent) = (&meter, &spent);
                scope.spawn(move || {
                    // Three nested requests at a time; the durations add up outside of the meter.
                    let mut sum = 0;
                    for round in 0..EACH / 3 {
                        let starts = [0; 3].map(|_| {
                            let now = clock();
                            meter.enter(now);
                            now
                        });
                        if (round + thread) % 64 == 0 {
                            thread::yield_now();
                        }
                        for start in starts {
                            let now = clock();
                            meter.leave(now);
                            sum += u64::try_from(ticks(start, now)).unwrap();
                        }
                    }
                    spent.fetch_add(sum, SeqCst);
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut last = InFlight::default();
            while !finished.load(SeqCst) {
                let now = clock();
                let read = meter.read(now);
                assert!(read.integral_ns >= last.integral_ns, "went back: {last:?} {read:?}");
                let possible = 24 * u128::from(clock() - uptime);
                assert!(read.integral_ns <= possible, "more than can be: {read:?} at {now}");
                assert!(read.now <= 24);
                most.fetch_max(meter.max_over(now, 60), SeqCst);
                last = read;
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        finished.store(true, SeqCst);
        reader.join().unwrap();
    });

    // A reader may have been ahead by what a suspended writer had not said yet; a second more overtakes that.
    let end = clock();
    meter.enter(end);
    meter.leave(end + 100 * S);
    let truth = u128::from(spent.load(SeqCst)) + ticks(end, end + 100 * S);
    assert_eq!(meter.read(end + 100 * S), InFlight { now: 0, integral_ns: truth });
    assert!((3..=24).contains(&most.load(SeqCst)), "{most:?}");
}

#[test]
fn bursts_between_scrapes_are_counted_where_a_gauge_sees_nothing() {
    let meter = Concurrency::new();
    let (mut gauges, mut scrapes, mut maxima, mut integrals) = (0, 0, Vec::new(), Vec::new());
    // Bursts of 200 requests of 100 ms every 7 s for 105 minutes; scrapes every 15 s, half a period off.
    let (mut next_burst, mut next_scrape) = (0, 7_500 * MS);
    while next_scrape < 105 * 60 * S {
        if next_burst < next_scrape {
            (0..200).for_each(|_| meter.enter(next_burst));
            // A scrape that falls into the burst sees it.
            if next_scrape < next_burst + 100 * MS {
                gauges += meter.read(next_scrape).now;
                scrapes += 1;
                integrals.push(meter.read(next_scrape).integral_ns);
                next_scrape += 15 * S;
            }
            (0..200).for_each(|_| meter.leave(next_burst + 100 * MS));
            next_burst += 7 * S;
        } else {
            let read = meter.read(next_scrape);
            gauges += read.now;
            scrapes += 1;
            integrals.push(read.integral_ns);
            maxima.push(meter.max_over(next_scrape, 15));
            next_scrape += 15 * S;
        }
    }
    let truth = 200.0 * 0.1 / 7.0;
    let seconds = 15.0 * (integrals.len() - 1) as f64;
    let mean = (integrals[integrals.len() - 1] - integrals[0]) as f64 / 1e9 / seconds;
    let gauge = gauges as f64 / f64::from(scrapes);
    assert!((mean - truth).abs() < 0.01 * truth, "{mean} instead of {truth}");
    assert!((gauge - truth).abs() > 0.5 * truth, "the gauge was right: {gauge} instead of {truth}");
    assert!(maxima.iter().all(|max| *max == 200), "two bursts in every 15 s: {maxima:?}");
}

#[test]
fn the_integral_outgrows_its_word() {
    let meter = Concurrency::new();
    (0..10_000).for_each(|_| meter.enter(0));
    // 10,000 in flight fill 44 bits in half an hour; a read every 25 minutes for a week.
    for reads in 1..=400 {
        let now = reads * 25 * 60 * S;
        assert_eq!(meter.read(now).integral_ns, 10_000 * ticks(0, now));
    }
    assert!(meter.read(400 * 25 * 60 * S).integral_ns >> 10 > 1 << 48);
}

#[test]
fn a_reader_whose_clock_is_behind_sees_no_less_than_the_one_before() {
    let meter = Concurrency::new();
    meter.enter(10 * S);
    assert_eq!(meter.read(9 * S).integral_ns, 0);
    let first = meter.read(20 * S);
    assert_eq!(meter.read(15 * S), first);
    assert_eq!(meter.read(21 * S).integral_ns, ticks(10 * S, 21 * S));
}
