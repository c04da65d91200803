//! Burn rates against an exact recount, and alerts that neither chance nor silence sets off.

use std::time::Duration;

use http::Method;
use proptest::prelude::*;
use scalekit_core::slo::{Alert, BurnMeter, Burning, Objective, ObjectiveSet, Slo, Window};

const S: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * S;

/// Every event with its time; counts by walking over all of them.
#[derive(Default)]
struct Oracle(Vec<(u64, bool)>);

impl Oracle {
    /// Bad ones and all ones in `(since, now]`.
    fn events(&self, since: u64, now: u64) -> (u64, u64) {
        let from = self.0.partition_point(|(at, _)| *at <= since);
        let to = self.0.partition_point(|(at, _)| *at <= now);
        let bad = self.0[from..to].iter().filter(|(_, good)| !good).count();
        (bad as u64, (to - from) as u64)
    }
}

fn state(meter: &BurnMeter, now: u64, alert: Alert) -> Burning {
    meter.budget(now).alerts.iter().find(|state| state.alert == alert).unwrap().burning
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Bursts and silences on the scale of each window; the answer is that of a window whose start is off by at most
    /// 0.35 % of its length, judged by an exact recount of the shorter and the longer one.
    #[test]
    fn the_start_of_a_window_is_off_by_at_most_a_third_of_a_percent(
        window in prop::sample::select(Window::ALL.to_vec()),
        events in prop::collection::vec((0_u64..10_000, 0_u64..6, any::<bool>()), 2_000..6_000),
        epoch in 0..100 * HOUR,
    ) {
        let length = u64::try_from(window.duration().as_nanos()).unwrap();
        let meter = BurnMeter::new(0.99, epoch).unwrap();
        let (mut oracle, mut now, mut good) = (Oracle::default(), epoch, 0);
        for (index, (step, burst, is_good)) in events.into_iter().enumerate() {
            // Mostly dense, at times as long as a third of the window.
            let pause = if step > 9_990 { length / 3 } else { length / 30_000_000 * step };
            now += pause;
            for _ in 0..burst {
                oracle.0.push((now, is_good));
                good += u64::from(is_good);
            }
            // The clock's owner looks just before and at every event: the error left is the ring's own.
            let total = oracle.0.len() as u64;
            let (old_good, old_total) = if is_good { (good - burst, total - burst) } else { (good, total - burst) };
            meter.observe(now.saturating_sub(1), old_good, old_total);
            meter.observe(now, good, total);

            if index % 50 == 49 {
                let burns = meter.budget(now).burns;
                let burn = burns.iter().find(|burn| burn.window == window).unwrap();
                let start = |thousandths: u64| (now).saturating_sub(length / 100_000 * thousandths).max(epoch);
                // From epoch on everything counts, the event of the first instant, too.
                let since = |at: u64| if at == epoch { 0 } else { at };
                let (least_bad, least) = oracle.events(since(start(100_000 - 350) + 2), now);
                let (most_bad, most) = oracle.events(since(start(100_000 + 350)).saturating_sub(2), now);
                prop_assert!((least..=most).contains(&burn.total), "{least} <= {burn:?} <= {most}");
                prop_assert!((least_bad..=most_bad).contains(&burn.bad), "{least_bad} <= {burn:?} <= {most_bad}");
            }
        }
    }

    /// At one look per 10 s the start may be off by those 10 s more.
    #[test]
    fn ten_seconds_between_looks_cost_ten_seconds(
        rates in prop::collection::vec((0_u64..4, 0_u64..4), 60..90),
        window in prop::sample::select(vec![Window::M5, Window::M30, Window::H1]),
    ) {
        let length = u64::try_from(window.duration().as_nanos()).unwrap();
        let meter = BurnMeter::new(0.99, 0).unwrap();
        let (mut oracle, mut good) = (Oracle::default(), 0);
        for second in 1..rates.len() as u64 * 60 {
            let (good_ones, bad_ones) = rates[(second / 60) as usize];
            (0..good_ones).for_each(|_| oracle.0.push((second * S, true)));
            (0..bad_ones).for_each(|_| oracle.0.push((second * S, false)));
            good += good_ones;
            let now = second * S;
            if second % 10 == 0 {
                meter.observe(now, good, oracle.0.len() as u64);
            }
            if second % 70 == 0 {
                let burn = *meter.budget(now).burns.iter().find(|burn| burn.window == window).unwrap();
                let slack = length / 100_000 * 350 + 10 * S;
                let (_, least) = oracle.events(now.saturating_sub(length - slack), now);
                let (_, most) = oracle.events(now.saturating_sub(length + slack), now);
                prop_assert!((least..=most).contains(&burn.total), "{least} <= {burn:?} <= {most}");
            }
        }
    }

    #[test]
    fn no_input_makes_it_panic_or_say_nan(
        looks in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..40),
    ) {
        let meter = BurnMeter::new(0.999, looks[0].0).unwrap();
        for (now, good, total) in looks {
            meter.observe(now, good, total);
            let budget = meter.budget(now);
            for number in budget.burns.iter().flat_map(|burn| [burn.rate, burn.at_least]).flatten() {
                prop_assert!(number.is_finite() && number >= 0.0);
            }
            prop_assert!(budget.left_ratio.is_none_or(f64::is_finite));
            prop_assert!(budget.left_minutes.is_none_or(|minutes| minutes >= 0.0));
        }
    }
}

#[test]
fn each_alert_fires_and_clears_when_its_two_windows_say_so() {
    // A steady 100 requests a second, all good for 4 days, then a share of bad ones for a while, then good again.
    // The target is 99 %, so x % bad burn at x.
    for (alert, percent) in [(Alert::Fast, 20), (Alert::Steady, 10), (Alert::Slow, 5), (Alert::Creeping, 2)] {
        let meter = BurnMeter::new(0.99, 0).unwrap();
        let (mut now, mut good, mut total) = (0, 0, 0);
        let mut run = |seconds: u64, bad_percent: u64, until: Burning| {
            for _ in 0..seconds / 60 {
                (now, good, total) = (now + 60 * S, good + 60 * (100 - bad_percent), total + 6_000);
                meter.observe(now, good, total);
                if until != Burning::NoData && state(&meter, now, alert) == until {
                    break;
                }
            }
            now
        };
        let began = run(4 * 86_400, 0, Burning::NoData);
        let long = u64::try_from(alert.long().duration().as_nanos()).unwrap();
        let short = u64::try_from(alert.short().duration().as_nanos()).unwrap();
        let fired = run(long / S, percent, Burning::Yes) - began;
        // The long window must hold `factor` / `percent` of it bad.
        let share = alert.factor() / percent as f64;
        let took = fired as f64 / long as f64;
        assert!((took - share).abs() < 0.03, "{alert:?} fired after {took} of its window, not {share}");
        let ended = run(short / S, percent, Burning::NoData);
        let cleared = run(long / S, 0, Burning::No) - ended;
        let share = 1.0 - share;
        let took = cleared as f64 / short as f64;
        assert!(
            (took - share).abs() < 0.25,
            "{alert:?} cleared after {took} of its short window, not {share}"
        );
    }
}

#[test]
fn two_of_four_requests_page_nobody() {
    let meter = BurnMeter::new(0.999, 0).unwrap();
    meter.observe(60 * S, 2, 4);
    assert_eq!(meter.burn_rate(Window::H1).map(f64::round), Some(500.0));
    assert!(Alert::ALL.iter().all(|alert| state(&meter, 60 * S, *alert) == Burning::TooFew));
    // 30 requests with one bad are a burn of 33, and chance explains it.
    meter.observe(61 * S, 31, 34);
    let meter = BurnMeter::new(0.999, 0).unwrap();
    meter.observe(60 * S, 29, 30);
    assert_eq!(state(&meter, 60 * S, Alert::Fast), Burning::No);
    // A service that is down for 30 requests is down.
    let meter = BurnMeter::new(0.999, 0).unwrap();
    meter.observe(60 * S, 0, 30);
    assert_eq!(state(&meter, 60 * S, Alert::Fast), Burning::Yes);
    // The bound, not the least number alone, keeps 2 of 4 quiet at a target where 14.4 x 1 % is below it.
    let meter = BurnMeter::new(0.99, 0).unwrap().with_min_events(0);
    meter.observe(60 * S, 2, 4);
    assert!(meter.burn_rate(Window::H1) > Some(49.9));
    assert_eq!(state(&meter, 60 * S, Alert::Fast), Burning::No);
}

#[test]
fn a_quiet_service_has_no_data() {
    let meter = BurnMeter::new(0.99, 0).unwrap();
    let empty = meter.budget(10 * HOUR);
    assert_eq!((empty.left_ratio, empty.left_minutes), (None, None));
    assert!(empty.burns.iter().all(|burn| burn.rate.is_none() && burn.at_least.is_none()));
    assert!(!serde_json::to_string(&empty).unwrap().contains("NaN"));

    meter.observe(10 * HOUR, 50, 100);
    assert!(meter.burn_rate(Window::D30).is_some());
    let later = meter.budget(12 * HOUR);
    assert_eq!(later.burns[0].rate, None, "the last five minutes saw nothing");
    assert_eq!(later.alerts[0].burning, Burning::NoData);
    assert_eq!(later.left_minutes, Some(0.0));
}

#[test]
fn an_hour_without_a_look_counts_as_even() {
    let meter = BurnMeter::new(0.9, 0).unwrap();
    meter.observe(HOUR, 100, 100);
    meter.observe(2 * HOUR, 100, 100 + 1_200);
    let burns = meter.budget(2 * HOUR).burns;
    // The nearest edge of a cell is up to a second before the start.
    assert_eq!(burns[0].window, Window::M5);
    assert!((100..=101).contains(&burns[0].total), "{:?}", burns[0]);
    assert_eq!((burns[2].window, burns[2].total), (Window::H1, 1_200));
    assert_eq!((burns[3].window, burns[3].total), (Window::H2, 1_300));
    // 31 silent days: everything before is out of all windows.
    meter.observe(2 * HOUR + 31 * 24 * HOUR, 100, 1_300);
    assert!(meter.budget(2 * HOUR + 31 * 24 * HOUR).burns.iter().all(|burn| burn.rate.is_none()));
}

#[test]
fn a_counter_that_falls_started_anew() {
    let meter = BurnMeter::new(0.9, 0).unwrap();
    (1..=360).for_each(|tick| meter.observe(tick * 10 * S, 0, tick * 10));
    assert_eq!(meter.budget(HOUR).burns[7].bad, 3_600);
    meter.observe(HOUR + 10 * S, 7, 8);
    for burn in meter.budget(HOUR + 10 * S).burns {
        assert_eq!((burn.bad, burn.total), (1, 8), "of {}", burn.window);
    }
    // The two counters are read one after the other: bad ones may seem to fall for a moment, which is no restart.
    meter.observe(HOUR + 20 * S, 8, 8);
    assert_eq!(meter.budget(HOUR + 20 * S).burns[7].total, 8);
    assert_eq!(meter.budget(HOUR + 20 * S).burns[7].bad, 0);
}

#[test]
fn the_budget_is_what_its_formula_says() {
    let meter = BurnMeter::new(0.99, 0).unwrap();
    // 20 days at 1,000 a tick with 0.5 % bad: half of what was allowed so far is spent, at a burn of 0.5.
    let mut last = (0, 0, 0);
    for tick in 1..=20 * 24 * 60 {
        last = (tick * 60 * S, tick * 995, tick * 1_000);
        meter.observe(last.0, last.1, last.2);
    }
    let budget = meter.budget(last.0);
    assert!((budget.left_ratio.unwrap() - 0.5).abs() < 1e-9);
    assert!((budget.left_minutes.unwrap() - 0.5 * 43_200.0 / 0.5).abs() < 1e-3);
    // All good for an hour: nothing burns, so it lasts for ever.
    for tick in 1..=62 {
        meter.observe(last.0 + tick * 60 * S, last.1 + tick * 1_000, last.2 + tick * 1_000);
    }
    assert_eq!(meter.budget(last.0 + 62 * 60 * S).left_minutes, None);
}

#[test]
fn a_target_without_a_budget_is_refused() {
    for target in [0.0, 1.0, -0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = BurnMeter::new(target, 0).unwrap_err();
        assert!(error.to_string().contains(&target.to_string()), "{error}");
    }
    assert!(BurnMeter::new(0.9, 0).unwrap().bytes() <= 22_000);
}

/// Two scrapes at once, or a scrape and a request that is due to look: whoever read the counters first may be the
/// last to show them to the budget, which must not take that for a counter that started anew.
#[tokio::test(start_paused = true)]
async fn readers_at_the_same_time_forget_nothing() {
    const BEFORE: u64 = 100_000;
    const READERS: u64 = 8;
    const EVENTS: u64 = 1_000;
    let paid = Objective::new("paid").route(Method::POST, "/orders").until("paid").availability(0.999);
    let paid = paid.latency(Duration::from_secs(1)).target(0.99);
    let slo = Slo::new(ObjectiveSet::builder("shop").objective(paid).build().unwrap());
    let step = slo.step("paid").unwrap();
    let last_five_minutes = || slo.report().budgets[0].availability.as_ref().unwrap().burns[0].total;
    (0..BEFORE).for_each(|_| step.failed());
    assert_eq!(last_five_minutes(), BEFORE);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(last_five_minutes(), 0);
    let runtime = tokio::runtime::Handle::current();
    std::thread::scope(|threads| {
        for _ in 0..READERS {
            threads.spawn(|| {
                let _clock = runtime.enter();
                for _ in 0..EVENTS {
                    step.failed();
                    let seen = last_five_minutes();
                    assert!(seen <= READERS * EVENTS, "{seen} events in the last five minutes");
                }
            });
        }
    });
    assert_eq!(last_five_minutes(), READERS * EVENTS);
}
