//! The largest tenants and the failing ones, in bounded memory and series, adding up to all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use scalekit_core::slo::{TenantExport, TenantRow, Tenants};
use scalekit_testkit::{Rng, seed};

use crate::zipf::{Zipf, unit};

const S: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * S;
const MS: Duration = Duration::from_millis(1);

fn top_20(truth: &BTreeMap<String, u64>) -> u64 {
    let mut counts: Vec<u64> = truth.values().copied().collect();
    counts.sort_unstable();
    counts[counts.len() - 20]
}

fn recall(rows: &[TenantRow], truth: &BTreeMap<String, u64>) -> usize {
    let least = top_20(truth);
    rows.iter().filter(|row| truth.get(row.tenant.as_str()).is_some_and(|count| *count >= least)).count()
}

#[test]
fn the_largest_and_the_failing_are_found_among_a_hundred_thousand() {
    let (zipf, mut random) = (Zipf::new(100_000, 1.1), Rng::new(seed()));
    let tenants = Tenants::new();
    let memory = tenants.bytes();
    let (mut volume, mut misses) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let mut times: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    // Ten tenants out of the tail, with some 600 requests of two million each down to 200, fail always.
    let failing = |rank: usize| (300..800).contains(&rank) && rank.is_multiple_of(50);
    for event in 0..2_000_000_u64 {
        let rank = zipf.rank(&mut random);
        let name = format!("tenant-{rank}");
        let good = !failing(rank) && unit(&mut random) >= 0.002;
        // Log-normal about 20 ms times the tenant's own factor.
        let bell = (0..12).map(|_| unit(&mut random)).sum::<f64>() - 6.0;
        let seconds = 0.02 * (1.0 + (rank % 7) as f64) * (0.6 * bell).exp();
        tenants.record(event * 1_000, Some(&name), good, Duration::from_secs_f64(seconds));
        *volume.entry(name.clone()).or_default() += 1;
        if !good {
            *misses.entry(name).or_default() += 1;
        }
        if rank < 20 {
            times.entry(rank).or_default().push(seconds);
        }
    }
    let top = tenants.top(2_000_000_000, 20);
    assert_eq!(recall(&top.by_volume, &volume), 20, "by volume");
    let by_misses = recall(&top.by_misses, &misses);
    assert!(by_misses >= 19, "by misses: {by_misses} of 20");
    for rank in (0..100_000).filter(|rank| failing(*rank)) {
        let name = format!("tenant-{rank}");
        let row = top.by_misses.iter().find(|row| row.tenant.as_str() == name);
        assert!(row.is_some_and(|row| row.good == 0), "{name} fails always and does not surface: {row:?}");
    }
    for (rank, mut times) in times {
        if times.len() < 20_000 {
            continue;
        }
        times.sort_by(f64::total_cmp);
        let exact = times[times.len() * 95 / 100];
        let name = format!("tenant-{rank}");
        let row = top.by_volume.iter().find(|row| row.tenant.as_str() == name).unwrap();
        let p95 = row.p95.unwrap();
        assert!((p95 - exact).abs() < 0.05 * exact, "{name}: {p95} instead of {exact}");
    }
    assert_eq!(tenants.bytes(), memory);
    assert!(memory <= 512 * 1024, "{memory}");
}

#[test]
fn a_million_random_tenants_leave_memory_and_series_as_they_were() {
    let (tenants, mut random) = (Tenants::new(), Rng::new(seed()));
    let memory = tenants.bytes();
    let mut named = BTreeSet::new();
    for event in 0..1_000_000_u64 {
        let name = format!("{:016x}", random.next_u64());
        let now = event * 10 * S / 1_000;
        tenants.record(now, Some(&name), event % 3 > 0, MS);
        if event % 10_000 == 0 {
            named.extend(tenants.export(now).tenants.iter().map(|tenant| tenant.tenant.to_string()));
        }
    }
    assert_eq!(tenants.bytes(), memory);
    // Some three hours of noise: nobody but the first few of them is ever named.
    assert!(named.len() <= 40, "{}", named.len());
    assert_eq!(tenants.export(0).all().total, 1_000_000);
}

#[test]
fn series_are_few_change_slowly_and_add_up() {
    let (tenants, mut random) = (Tenants::new(), Rng::new(seed()));
    let (mut total, mut good) = (0, 0);
    let mut before: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut joined: Vec<u64> = Vec::new();
    let (mut other, mut came_and_went) = ((0, 0), 0);
    // Twelve hours; every five minutes another set of tenants is the largest, and another one fails.
    for second in 0..12 * 3_600_u64 {
        let now = second * S;
        for _ in 0..8 {
            let tenant = second / 300 * 3 + random.next_u64() % 15;
            let is_good = tenant % 5 > 0;
            tenants.record(now, Some(&format!("t{tenant}")), is_good, MS);
            (total, good) = (total + 1, good + u64::from(is_good));
        }
        tenants.record(now, None, true, MS);
        (total, good) = (total + 1, good + 1);
        if second % 15 > 0 {
            continue;
        }
        let export = tenants.export(now);
        assert_eq!((export.all().total, export.all().good), (total, good), "adds up");
        assert!(export.tenants.len() <= 20);
        assert!((export.other.total, export.other.good) >= other, "other fell");
        other = (export.other.total, export.other.good);
        let mut after = BTreeMap::new();
        for tenant in &export.tenants {
            let name = tenant.tenant.to_string();
            let last = before.get(&name);
            let since = last.map_or(now, |(since, _)| *since);
            assert!(tenant.tally.total >= last.map_or(0, |(_, total)| *total), "a counter fell");
            if last.is_none() {
                joined.push(now);
                assert_eq!(tenant.tally.total, 0, "a new series starts at 0");
            }
            assert!(after.insert(name, (since, tenant.tally.total)).is_none(), "a series twice");
        }
        for (name, (since, _)) in &before {
            if !after.contains_key(name) {
                came_and_went += 1;
                assert!(now >= since + 10 * MINUTE, "{name} left after {} s", (now - since) / S);
            }
        }
        before = after;
        let last_hour = joined.iter().filter(|at| now - **at < 60 * MINUTE).count();
        assert!(last_hour <= 10, "{last_hour} new series in an hour");
    }
    assert!(came_and_went > 20, "the series followed the tenants: {came_and_went}");
}

#[test]
fn a_failing_tenant_gets_a_series_though_the_large_came_first() {
    let tenants = Tenants::new();
    let large = |now: u64| {
        for tenant in 0..40 {
            (0..40 - tenant).for_each(|_| tenants.record(now, Some(&format!("large-{tenant}")), true, MS));
        }
    };
    for second in 0..60 {
        large(second * S);
        assert!(tenants.export(second * S).tenants.len() <= 6);
    }
    tenants.record(61 * S, Some("small"), false, MS);
    assert!(tenants.export(61 * S).tenants.iter().any(|tenant| tenant.tenant.as_str() == "small"));
    // An hour later the rest of the large ten has its place.
    large(3_700 * S);
    let named = tenants.export(3_700 * S).tenants.len();
    assert_eq!(named, 11);
}

#[test]
fn a_series_stays_ten_minutes_after_its_tenant_left_the_top() {
    let tenants = Tenants::new();
    let fail = |now: u64, set: &str, times: u64| {
        (0..10 * times)
            .for_each(|event| tenants.record(now, Some(&format!("{set}{}", event % 10)), false, MS));
    };
    let named = |now: u64, set: &str| {
        let export = tenants.export(now);
        export.tenants.iter().filter(|tenant| tenant.tenant.as_str().starts_with(set)).count()
    };
    // Ten who fail, and in the hours after that ten who are large.
    let mut now = 0;
    while now < 190 * MINUTE {
        fail(now, "failing", 2);
        for event in 0..100 {
            tenants.record(now, Some(&format!("large{}", event % 10)), true, MS);
        }
        assert!(named(now, "") <= 20);
        now += MINUTE;
    }
    assert_eq!((named(now, "failing"), named(now, "large")), (10, 10), "all places are taken");
    fail(now, "worse", 10_000);
    let left = now - MINUTE;
    for minute in 0..=9 {
        assert_eq!(named(now + minute * MINUTE, "worse"), 0, "{minute} minutes after");
    }
    assert_eq!(named(left + 12 * MINUTE, "worse"), 10);
    assert_eq!(named(left + 12 * MINUTE, "failing") + named(left + 12 * MINUTE, "large"), 10);
}

#[test]
fn a_slot_that_changes_owner_forgets_the_times_of_the_old_one() {
    let tenants = Tenants::with_capacity(1);
    (0..1_000).for_each(|event| tenants.record(event, Some("slow"), false, Duration::from_secs(30)));
    tenants.record(2_000, Some("fast"), false, MS * 10);
    let top = tenants.top(2_001, 1);
    for row in [&top.by_volume[0], &top.by_misses[0]] {
        assert_eq!((row.tenant.as_str(), row.count, row.error, row.total), ("fast", 1_001, 1_000, 1));
        assert!(row.p95 < Some(0.02), "{row:?}");
        assert!(row.since >= 1_000);
    }
}

#[test]
fn no_tenant_passes_for_ours_and_no_name_is_in_debug_output() {
    let tenants = Tenants::new();
    for name in [TenantExport::OTHER, TenantExport::FORMER, "", "secret-name"] {
        (0..10).for_each(|event| tenants.record(event, Some(name), false, MS));
    }
    let export = tenants.export(20);
    let names: Vec<&str> = export.tenants.iter().map(|tenant| tenant.tenant.as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with('<') && !name.is_empty()), "{names:?}");
    let debug = format!("{tenants:?} {export:?} {:?}", tenants.top(20, 5));
    assert!(!debug.contains("secret-name"), "{debug}");
    assert!(serde_json::to_string(&export).unwrap().contains(r#""tenant":"secret-name","good":0,"total":0"#));
}

#[test]
fn a_giant_of_yesterday_makes_way() {
    let tenants = Tenants::new();
    (0..10_000).for_each(|event| tenants.record(event, Some("yesterday"), true, MS));
    let today = 24 * 60 * MINUTE;
    (0..100).for_each(|event| tenants.record(today + event, Some("today"), true, MS));
    assert_eq!(tenants.top(today + 100, 1).by_volume[0].tenant.as_str(), "today");
}

#[test]
fn threads_and_readers_lose_nothing() {
    let tenants = Tenants::new();
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..8_u64)
            .map(|thread| {
                let tenants = &tenants;
                scope.spawn(move || {
                    for event in 0..30_001_u64 {
                        let name = format!("t{}", (event * thread) % 300);
                        tenants.record(event * S / 100, Some(&name), event % 4 > 0, MS);
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let mut last = 0;
            while !finished.load(SeqCst) {
                let all = tenants.export(300 * S).all();
                assert!(all.total >= last && all.good <= all.total);
                last = all.total;
            }
        });
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        finished.store(true, SeqCst);
        reader.join().unwrap();
    });
    let all = tenants.export(301 * S).all();
    assert_eq!((all.total, all.good), (8 * 30_001, 8 * 22_500));
}
