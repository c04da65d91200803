//! Rows per route and per objective, for a page that people read.

use std::collections::BTreeMap;

use serde::Serialize;

use super::handle::Slo;
use super::histogram::Percentiles;
use super::objective::Objective;
use super::outcome::Outcome;
use super::tally::Tally;

/// What [`Slo::snapshot`](super::Slo::snapshot) says about one route and method since the process started.
///
/// Times are seconds. What depends on an objective is `None` on a route without one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouteRow {
    /// One of the nine standard methods, or `_OTHER`.
    pub method: &'static str,
    /// The route's pattern, `<unmatched>` or `<other>`.
    pub route: String,
    /// Requests that ended, however they did.
    pub count: u64,
    /// Half of the requests took at most this time: to their end, or to the head of a stream; `None` before the first
    /// one.
    pub p50: Option<f64>,
    /// 95 % took at most this time.
    pub p95: Option<f64>,
    /// 99 % took at most this time.
    pub p99: Option<f64>,
    /// Requests that have entered and not ended.
    pub in_flight: u64,
    /// The name of the route's objective.
    pub objective: Option<String>,
    /// Its threshold T.
    pub threshold: Option<f64>,
    /// The share of requests that should be good.
    pub target: Option<f64>,
    /// The share of requests that should not fail.
    pub availability: Option<f64>,
    /// Requests that count for the objective.
    pub total: Option<u64>,
    /// Those that did not fail.
    pub available: Option<u64>,
    /// Those that did not fail and took at most the threshold.
    pub good: Option<u64>,
    /// Of those that count, the share within T plus half of the share within 4T, from 0 to 1; `None` before the first
    /// one, and without a threshold.
    pub apdex: Option<f64>,
    /// How often each [`Outcome`] came, by its label value.
    pub outcomes: BTreeMap<&'static str, u64>,
}

/// What [`Slo::objective_rows`](super::Slo::objective_rows) says about one objective since the process started.
///
/// Times are seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ObjectiveRow {
    /// Its name.
    pub objective: String,
    /// The step at which a journey ends; `None` if it is none.
    pub until: Option<String>,
    /// The threshold T.
    pub threshold: Option<f64>,
    /// The share of requests that should be good.
    pub target: Option<f64>,
    /// The share of requests that should not fail.
    pub availability: Option<f64>,
    /// Half of its requests, over all its routes, took at most this time, those included that do not count; of a journey
    /// half of those that were done. `None` before the first one.
    pub p50: Option<f64>,
    /// 95 % took at most this time.
    pub p95: Option<f64>,
    /// 99 % took at most this time.
    pub p99: Option<f64>,
    /// Requests, or journeys, that count.
    pub total: u64,
    /// Those that did not fail.
    pub available: u64,
    /// Those that did not fail and took at most the threshold.
    pub good: u64,
    /// Those within T plus half of those within 4T, as a share of the total; `None` before the first one, and without a
    /// threshold.
    pub apdex: Option<f64>,
}

pub(super) fn rows(slo: &Slo) -> Vec<RouteRow> {
    let objectives = slo.objectives().objectives();
    let row = |slot: &super::slot::Slot| {
        let objective = slot.objective().and_then(|at| objectives.get(at));
        let tally = objective.map(|_| slot.tally());
        let mut times = Percentiles::new();
        times.add(slot.fine());
        let [p50, p95, p99] = times.of([50, 95, 99]);
        RouteRow {
            method: slot.method,
            route: slot.route.to_string(),
            count: slot.ended(),
            p50,
            p95,
            p99,
            in_flight: slot.in_flight().in_flight(),
            objective: objective.map(|objective| objective.name.clone()),
            threshold: objective.and_then(|objective| objective.latency).map(|t| t.as_secs_f64()),
            target: objective.and_then(|objective| objective.target),
            availability: objective.and_then(|objective| objective.availability),
            total: tally.map(|tally| tally.total()),
            available: tally.map(|tally| tally.available()),
            good: tally.map(|tally| tally.good),
            apdex: objective
                .and_then(|objective| objective.latency)
                .and(tally.and_then(|tally| tally.apdex())),
            outcomes: Outcome::ALL.into_iter().map(|o| (o.as_str(), slot.outcome(o))).collect(),
        }
    };
    slo.slots().iter().map(|slot| row(slot)).collect()
}

pub(super) fn objective_rows(slo: &Slo) -> Vec<ObjectiveRow> {
    let slots = slo.slots();
    let row = |(at, (objective, tally)): (usize, (&Objective, Tally))| {
        let mut times = Percentiles::new();
        slots.iter().filter(|slot| slot.objective() == Some(at)).for_each(|slot| times.add(slot.fine()));
        let journeys = slo.journeys().iter().filter(|journey| journey.objective == at);
        journeys.for_each(|journey| times.add_cut(journey.durations()));
        let [p50, p95, p99] = times.of([50, 95, 99]);
        ObjectiveRow {
            objective: objective.name.clone(),
            until: objective.until.clone(),
            threshold: objective.latency.map(|t| t.as_secs_f64()),
            target: objective.target,
            availability: objective.availability,
            p50,
            p95,
            p99,
            total: tally.total(),
            available: tally.available(),
            good: tally.good,
            apdex: objective.latency.and_then(|_| tally.apdex()),
        }
    };
    slo.tallies().into_iter().enumerate().map(row).collect()
}
