//! Objectives and journeys: what is promised, how it is kept, what may still be spent.

use std::borrow::Cow;

use super::{Family, Kind, Series, Times, Value};
use crate::slo::budget::Budget;
use crate::slo::handle::Slo;
use crate::slo::naming::{Name, PROMISE, SLO, STEP, WINDOW, ZONE};
use crate::slo::objective::Objective;
use crate::slo::tally::Tally;

pub(super) fn add<'a>(families: &mut Vec<Family<'a>>, apps: &[(&'a Slo, u64)]) {
    journeys(families, apps);
    objectives(families, apps);
    budgets(families, apps);
}

fn journeys<'a>(families: &mut Vec<Family<'a>>, apps: &[(&'a Slo, u64)]) {
    let name = Name::own("scalekit_journey_duration_seconds", "scalekit.journey.duration", "s");
    let series = apps.iter().flat_map(|(slo, _)| {
        slo.journeys().iter().filter_map(move |journey| {
            let objective = slo.objectives().objectives().get(journey.objective)?;
            let until = objective.until.as_deref().unwrap_or_default();
            let labels = vec![(SLO, objective.name.as_str().into()), (STEP, until.into())];
            Some(Series { slo, labels, value: Times::cut(journey.durations(), slo.bounds()) })
        })
    });
    let help = "Time from the start of a journey to its last step.";
    families.push(Family { name, kind: Kind::Histogram, help, series: series.collect() });
}

/// A counter of an objective.
type Counted = (Name, &'static str, fn(&Tally) -> u64);
/// A number that an objective declares.
type Declared = (Name, &'static str, fn(&Objective) -> Option<f64>);

/// What is part of another comes before it, since OpenTelemetry reads them one after the other.
const COUNTED: [Counted; 3] = [
    (
        Name::own("scalekit_slo_good_total", "scalekit.slo.good", "{request}"),
        "Those that did not fail and ended within the threshold.",
        |tally| tally.good,
    ),
    (
        Name::own("scalekit_slo_available_total", "scalekit.slo.available", "{request}"),
        "Those that did not fail.",
        Tally::available,
    ),
    (
        Name::own("scalekit_slo_requests_total", "scalekit.slo.requests", "{request}"),
        "Requests that count for an objective.",
        Tally::total,
    ),
];
const DECLARED: [Declared; 3] = [
    (
        Name::own("scalekit_slo_threshold_seconds", "scalekit.slo.threshold", "s"),
        "The time within which a request is good.",
        |objective| objective.latency.map(|t| t.as_secs_f64()),
    ),
    (
        Name::own("scalekit_slo_target_ratio", "scalekit.slo.target", "1"),
        "The share of requests that should be good.",
        |objective| objective.target,
    ),
    (
        Name::own("scalekit_slo_availability_target_ratio", "scalekit.slo.availability_target", "1"),
        "The share of requests that should not fail.",
        |objective| objective.availability,
    ),
];
const APDEX: Name = Name::own("scalekit_slo_apdex_total", "scalekit.slo.apdex", "{request}");

fn objectives<'a>(families: &mut Vec<Family<'a>>, apps: &[(&'a Slo, u64)]) {
    let rows: Vec<(&'a Slo, &'a Objective, Tally)> = apps
        .iter()
        .flat_map(|(slo, _)| {
            slo.tallies().into_iter().map(move |(objective, tally)| (*slo, objective, tally))
        })
        .collect();
    let labels = |objective: &'a Objective| vec![(SLO, Cow::from(objective.name.as_str()))];

    for (name, help, value) in COUNTED {
        let series = rows.iter().map(|(slo, objective, tally)| Series {
            slo,
            labels: labels(objective),
            value: Value::Whole(value(tally)),
        });
        families.push(Family { name, kind: Kind::Counter, help, series: series.collect() });
    }

    let zones = rows.iter().filter(|(_, objective, _)| objective.latency.is_some());
    let zones = zones.flat_map(|(slo, objective, tally)| {
        let zones =
            [("satisfied", tally.good), ("tolerating", tally.tolerable), ("frustrated", tally.frustrated())];
        zones.map(|(zone, count)| {
            let mut labels = labels(objective);
            labels.push((ZONE, zone.into()));
            Series { slo, labels, value: Value::Whole(count) }
        })
    });
    let help =
        "Requests that count, by their time against the threshold T: within T, within 4T, beyond or failed.";
    families.push(Family { name: APDEX, kind: Kind::Counter, help, series: zones.collect() });

    for (name, help, value) in DECLARED {
        let series = rows.iter().filter_map(|(slo, objective, _)| {
            let value = Value::Number(value(objective)?);
            Some(Series { slo, labels: labels(objective), value })
        });
        families.push(Family { name, kind: Kind::Gauge, help, series: series.collect() });
    }
}

fn budgets<'a>(families: &mut Vec<Family<'a>>, now: &[(&'a Slo, u64)]) {
    let mut left = Vec::new();
    let mut burns = Vec::new();
    for (slo, now) in now {
        let budgets = slo.budgets().left(*now);
        for (objective, (target, availability)) in slo.objectives().objectives().iter().zip(budgets) {
            for (promise, budget) in [("latency", target), ("availability", availability)] {
                let Some(Budget { left_ratio, burns: rates, .. }) = budget else { continue };
                let labels = vec![(SLO, objective.name.as_str().into()), (PROMISE, promise.into())];
                for burn in rates {
                    let Some(rate) = burn.rate else { continue };
                    let mut labels = labels.clone();
                    labels.push((WINDOW, burn.window.as_str().into()));
                    burns.push(Series { slo, labels, value: Value::Number(rate) });
                }
                if let Some(ratio) = left_ratio {
                    left.push(Series { slo, labels, value: Value::Number(ratio) });
                }
            }
        }
    }
    let name = Name::own("scalekit_slo_burn_rate", "scalekit.slo.burn_rate", "1");
    let help =
        "How many times faster than allowed this process spends the error budget; absent without requests.";
    families.push(Family { name, kind: Kind::Gauge, help, series: burns });
    let name = Name::own("scalekit_slo_budget_left_ratio", "scalekit.slo.budget_left", "1");
    let help = "The share of this process's error budget of 30 days that is left; absent without requests.";
    families.push(Family { name, kind: Kind::Gauge, help, series: left });
}
