//! A lag disappears when its observer falls silent, and its average depends on time, not on the rhythm.

use std::time::Duration;

use scalekit_core::slo::{Lag, LagGauge, LagReading, Slo};

const S: u64 = 1_000_000_000;

#[test]
fn a_silent_observer_takes_its_value_along() {
    let gauge = LagGauge::new();
    gauge.observe(100 * S, Lag::items(9_000));
    assert_eq!(gauge.read(130 * S).items, Some(9_000.0), "30 s old is still fresh");
    let dead = gauge.read(130 * S + 1);
    assert!(dead.stale, "{dead:?}");
    assert_eq!(
        (dead.items, dead.items_average, dead.seconds, dead.seconds_average),
        (None, None, None, None)
    );
    assert!(dead.observed_ago > Some(30.0));

    gauge.observe(200 * S, Lag::items(10));
    let back = gauge.read(200 * S);
    assert_eq!(
        (back.items, back.items_average, back.stale),
        (Some(10.0), Some(10.0), false),
        "no memory of it"
    );
}

#[test]
fn the_age_is_the_callers_choice() {
    let gauge = LagGauge::new().with_max_age(Duration::from_secs(2));
    gauge.observe(0, Lag::age(Duration::from_millis(1_500)));
    assert_eq!((gauge.read(2 * S).seconds, gauge.read(2 * S).items), (Some(1.5), None));
    assert!(gauge.read(2 * S + 1).stale);
}

#[test]
fn the_average_of_a_step_does_not_depend_on_the_rhythm() {
    let after_a_minute = |every_ms: u64| {
        let gauge = LagGauge::new();
        gauge.observe(0, Lag::items(800));
        (1..=60_000 / every_ms).for_each(|tick| gauge.observe(tick * every_ms * S / 1_000, Lag::items(0)));
        gauge.read(60 * S).items_average.unwrap()
    };
    // Two half-lives of 30 s: a quarter of 800 is left.
    for every_ms in [10, 500, 1_000, 15_000, 30_000] {
        let left = after_a_minute(every_ms);
        assert!((left - 200.0).abs() < 1e-6, "{left} at one look per {every_ms} ms");
    }
}

#[test]
fn a_value_that_flaps_has_an_average_that_does_not() {
    let gauge = LagGauge::new();
    let mut averages = Vec::new();
    for second in 0..600 {
        gauge.observe(second * S, Lag::items(if second % 2 == 0 { 0 } else { 100 }));
        averages.push(gauge.read(second * S).items_average.unwrap());
    }
    assert!(averages[300..].iter().all(|average| (48.0..52.0).contains(average)), "{averages:?}");
}

#[test]
fn what_comes_late_changes_nothing_and_what_is_not_seen_disappears() {
    let gauge = LagGauge::new();
    gauge.observe(10 * S, Lag::items(5).and_age(Duration::from_secs(1)));
    gauge.observe(9 * S, Lag::items(77));
    assert_eq!(gauge.read(10 * S).items, Some(5.0));
    gauge.observe(11 * S, Lag::items(6));
    assert_eq!(gauge.read(11 * S).seconds, None, "the last observer could not tell");
    assert_eq!(LagGauge::default().read(0), LagReading::clone(&LagGauge::new().read(u64::MAX)));
}

#[test]
fn a_half_life_of_zero_is_the_value_itself() {
    let gauge = LagGauge::new().with_half_life(Duration::ZERO);
    for (at, items) in [(0, 10), (0, 20), (5, 30)] {
        gauge.observe(at, Lag::items(items));
        assert_eq!(gauge.read(at).items_average, Some(items as f64));
    }
}

#[test]
fn a_queue_that_nobody_ever_gets_to_see_is_stale_from_the_start() {
    let slo = Slo::new(crate::support::checkout(Duration::from_millis(300)));
    let signals = slo.signals();
    assert!(!slo.render().contains("scalekit_lag_stale{"));
    signals.expects("outbox", "east");
    let text = slo.render();
    assert!(text.contains("scalekit_lag_stale{queue=\"outbox\",of=\"east\"} 1\n"), "{text}");
    assert!(!text.contains("scalekit_lag_items{") && !text.contains("scalekit_lag_seconds{"));
    signals.behind("outbox", "east", 3, 0.5);
    signals.expects("outbox", "east");
    let text = slo.render();
    assert!(text.contains("scalekit_lag_stale{queue=\"outbox\",of=\"east\"} 0\n"), "{text}");
    assert!(text.contains("scalekit_lag_items{queue=\"outbox\",of=\"east\"} 3\n"));
}
