//! Requests: their times, their outcomes, how many are in flight.

use super::{Family, Kind, Series, Times, Value};
use crate::slo::handle::Slo;
use crate::slo::naming::{METHOD, Name, Naming, OUTCOME, ROUTE, STATUS};
use crate::slo::outcome::Outcome;
use crate::slo::slot::Slot;

const DURATION: Name = Name::own("http_server_request_duration_seconds", "http.server.request.duration", "s")
    .classic("http_request_duration_seconds");
const HEAD: Name =
    Name::own("scalekit_http_server_head_duration_seconds", "scalekit.http.server.head.duration", "s");
const STREAM: Name =
    Name::own("scalekit_http_server_stream_duration_seconds", "scalekit.http.server.stream.duration", "s");
const ACTIVE: Name = Name::own("http_server_active_requests", "http.server.active_requests", "{request}")
    .classic("in_flight_requests");
const ACTIVE_MAX: Name = Name::own(
    "scalekit_http_server_active_requests_max",
    "scalekit.http.server.active_requests.max",
    "{request}",
)
.classic("in_flight_requests_max");
const ACTIVE_SECONDS: Name = Name::own(
    "scalekit_http_server_active_request_seconds_total",
    "scalekit.http.server.active_request.duration",
    "s",
)
.classic("in_flight_request_seconds_total");
const PER_SECOND: Name =
    Name::own("http_requests_per_second", "scalekit.http.server.requests_per_second", "{request}/s");
const OUTCOMES: Name = Name::own("scalekit_http_outcomes_total", "scalekit.http.outcomes", "{request}");

pub(super) fn add<'a>(families: &mut Vec<Family<'a>>, apps: &[(&'a Slo, u64)]) {
    let slots: Vec<(&Slo, u64, &Slot)> = apps
        .iter()
        .flat_map(|(slo, now)| slo.slots().into_iter().map(move |slot| (*slo, *now, slot)))
        .collect();
    let labels = |slot: &'a Slot| vec![(METHOD, slot.method.into()), (ROUTE, (&*slot.route).into())];
    let mut family = |name, kind, help, series: Vec<Series<'a>>| {
        families.push(Family { name, kind, help, series });
    };

    let durations = slots.iter().flat_map(|(slo, _, slot)| {
        slot.histograms().map(|(status, counts)| {
            let mut labels = labels(slot);
            labels.extend(status.map(|status| (STATUS, status.into())));
            Series { slo, labels, value: Times::read(counts, slo.bounds()) }
        })
    });
    let help = "Time to the end of the response body, streams aside.";
    family(DURATION, Kind::Histogram, help, durations.collect());

    let heads = slots.iter().map(|(slo, _, slot)| Series {
        slo,
        labels: labels(slot),
        value: Times::read(slot.heads(), slo.bounds()),
    });
    family(HEAD, Kind::Histogram, "Time to the head of the response.", heads.collect());

    let streams = slots.iter().filter_map(|(slo, _, slot)| {
        let value = Times::read(slot.streams()?, slo.bounds());
        Some(Series { slo, labels: labels(slot), value })
    });
    family(STREAM, Kind::Histogram, "Time to the end of a stream.", streams.collect());

    let (mut active, mut most, mut spent) = (Vec::new(), Vec::new(), Vec::new());
    for (slo, now, slot) in &slots {
        let read = slot.in_flight().read(*now);
        let max = slot.in_flight().max_over(*now, 60);
        let series = |value| Series { slo, labels: labels(slot), value };
        active.push(series(Value::Whole(read.now)));
        most.push(series(Value::Whole(max)));
        spent.push(series(Value::Number(read.integral_ns as f64 / 1e9)));
    }
    let help = "Requests that have arrived and whose response body has not ended.";
    family(ACTIVE, Kind::Level, help, active);
    family(ACTIVE_MAX, Kind::Gauge, "The most of them at once in the last minute.", most);
    let help = "Seconds that requests have been in flight, all together: its rate is their mean number.";
    family(ACTIVE_SECONDS, Kind::Sum, help, spent);

    let rates = apps.iter().filter(|(slo, _)| slo.naming() == Naming::Classic).map(|(slo, now)| {
        let ended = slo.slots().iter().map(|slot| slot.ended()).sum();
        Series { slo, labels: Vec::new(), value: Value::Number(slo.rate().read(*now, ended)) }
    });
    let rates: Vec<Series<'_>> = rates.collect();
    if !rates.is_empty() {
        family(PER_SECOND, Kind::Gauge, "Requests that ended per second of the last minute.", rates);
    }

    let outcomes = slots.iter().flat_map(|(slo, _, slot)| {
        // Clients choose methods: one that is not declared has the series of what has happened to it.
        let outcomes = Outcome::ALL.into_iter().map(|outcome| (outcome, slot.outcome(outcome)));
        outcomes.filter(|(_, count)| slot.is_declared() || *count > 0).map(|(outcome, count)| {
            let mut labels = labels(slot);
            labels.push((OUTCOME, outcome.as_str().into()));
            Series { slo, labels, value: Value::Whole(count) }
        })
    });
    let help = "Requests by how they ended; each ends in exactly one outcome.";
    family(OUTCOMES, Kind::Counter, help, outcomes.collect());
}
