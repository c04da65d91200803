//! Prometheus' text format of all counters: each family once, series by app, route and method.

use super::bounds::Bounds;
use super::exposition::{push_head, push_label, push_sample};
use super::handle::Slo;
use super::histogram::BucketCounts;
use super::objective::Objective;
use super::outcome::Outcome;
use super::slot::Slot;
use super::tally::Tally;

/// The `Content-Type` of [`Slo::render`](super::Slo::render) and [`Exposition::render`](super::Exposition::render);
/// a scrape without one fails in Prometheus 3.
///
/// ```
/// assert!(scalekit_core::slo::CONTENT_TYPE.starts_with("text/plain"));
/// ```
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn render(slos: &[Slo]) -> String {
    let mut out = String::new();
    let slots: Vec<(&Slo, Vec<&Slot>)> = slos.iter().map(|slo| (slo, slo.slots())).collect();
    durations(&mut out, &slots);
    journeys(&mut out, slos);
    in_flight(&mut out, &slots);
    outcomes(&mut out, &slots);
    objectives(&mut out, slos);
    out
}

fn durations(out: &mut String, slots: &[(&Slo, Vec<&Slot>)]) {
    let family = Family::new(
        "http_server_request_duration_seconds",
        "Time to the end of the response body, streams aside.",
    );
    family.head(out);
    for (slo, slot) in each(slots) {
        for (status, counts) in slot.histograms() {
            let mut labels = joined(slo.labels(), &slot.labels);
            if let Some(status) = status {
                push_label(&mut labels, "http_response_status_code", status);
            }
            family.series(out, &labels, counts, slo.bounds());
        }
    }
    let family =
        Family::new("scalekit_http_server_head_duration_seconds", "Time to the head of the response.");
    family.head(out);
    for (slo, slot) in each(slots) {
        family.series(out, &joined(slo.labels(), &slot.labels), slot.heads(), slo.bounds());
    }
    let family = Family::new("scalekit_http_server_stream_duration_seconds", "Time to the end of a stream.");
    family.head(out);
    for (slo, slot) in each(slots) {
        if let Some(counts) = slot.streams() {
            family.series(out, &joined(slo.labels(), &slot.labels), counts, slo.bounds());
        }
    }
}

fn journeys(out: &mut String, slos: &[Slo]) {
    let help = "Time from the start of a journey to its last step.";
    let family = Family::new("scalekit_journey_duration_seconds", help);
    family.head(out);
    for slo in slos {
        for journey in slo.journeys() {
            let Some(objective) = slo.objectives().objectives().get(journey.objective) else { continue };
            let mut labels = slo.labels().to_owned();
            push_label(&mut labels, "slo", &objective.name);
            push_label(&mut labels, "step", objective.until.as_deref().unwrap_or_default());
            family.series(out, &labels, journey.durations(), slo.bounds());
        }
    }
}

fn in_flight(out: &mut String, slots: &[(&Slo, Vec<&Slot>)]) {
    let name = "http_server_active_requests";
    push_head(out, name, "Requests that have arrived and whose response body has not ended.", "gauge");
    for (slo, slot) in each(slots) {
        push_sample(out, name, &joined(slo.labels(), &slot.labels), slot.in_flight());
    }
}

fn outcomes(out: &mut String, slots: &[(&Slo, Vec<&Slot>)]) {
    let name = "scalekit_http_outcomes_total";
    push_head(out, name, "Requests by how they ended; each ends in exactly one outcome.", "counter");
    for (slo, slot) in each(slots) {
        let labels = joined(slo.labels(), &slot.labels);
        for outcome in Outcome::ALL {
            let mut labels = labels.clone();
            push_label(&mut labels, "outcome", outcome.as_str());
            push_sample(out, name, &labels, slot.outcome(outcome));
        }
    }
}

fn objectives(out: &mut String, slos: &[Slo]) {
    let rows: Vec<(String, &Objective, Tally)> = slos
        .iter()
        .flat_map(|slo| slo.tallies().into_iter().map(move |(objective, tally)| (slo, objective, tally)))
        .map(|(slo, objective, tally)| {
            let mut labels = slo.labels().to_owned();
            push_label(&mut labels, "slo", &objective.name);
            (labels, objective, tally)
        })
        .collect();

    type Counter = (&'static str, &'static str, fn(&Tally) -> u64);
    let counters: [Counter; 3] = [
        ("scalekit_slo_requests_total", "Requests that count for an objective.", Tally::total),
        ("scalekit_slo_available_total", "Those that did not fail.", Tally::available),
        ("scalekit_slo_good_total", "Those that did not fail and ended within the threshold.", |tally| {
            tally.good
        }),
    ];
    for (name, help, value) in counters {
        push_head(out, name, help, "counter");
        rows.iter().for_each(|(labels, _, tally)| push_sample(out, name, labels, value(tally)));
    }

    let name = "scalekit_slo_apdex_total";
    let help =
        "Requests that count, by their time against the threshold T: within T, within 4T, beyond or failed.";
    push_head(out, name, help, "counter");
    for (labels, objective, tally) in &rows {
        if objective.latency.is_some() {
            let zones = [
                ("satisfied", tally.good),
                ("tolerating", tally.tolerable),
                ("frustrated", tally.frustrated()),
            ];
            for (zone, n) in zones {
                let mut labels = labels.clone();
                push_label(&mut labels, "zone", zone);
                push_sample(out, name, &labels, n);
            }
        }
    }

    type Gauge = (&'static str, &'static str, fn(&Objective) -> Option<f64>);
    let gauges: [Gauge; 3] = [
        ("scalekit_slo_threshold_seconds", "The time within which a request is good.", |objective| {
            objective.latency.map(|t| t.as_secs_f64())
        }),
        ("scalekit_slo_target_ratio", "The share of requests that should be good.", |objective| {
            objective.target
        }),
        (
            "scalekit_slo_availability_target_ratio",
            "The share of requests that should not fail.",
            |objective| objective.availability,
        ),
    ];
    for (name, help, value) in gauges {
        push_head(out, name, help, "gauge");
        for (labels, objective, _) in &rows {
            if let Some(value) = value(objective) {
                push_sample(out, name, labels, value);
            }
        }
    }
}

fn each<'a>(slots: &'a [(&'a Slo, Vec<&Slot>)]) -> impl Iterator<Item = (&'a Slo, &'a Slot)> {
    slots.iter().flat_map(|(slo, slots)| slots.iter().map(move |slot| (*slo, *slot)))
}

fn joined(constant: &str, own: &str) -> String {
    if constant.is_empty() { own.to_owned() } else { format!("{constant},{own}") }
}

/// A histogram family.
struct Family {
    name: &'static str,
    help: &'static str,
    parts: [String; 3],
}

impl Family {
    fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, parts: ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")) }
    }

    fn head(&self, out: &mut String) {
        push_head(out, self.name, self.help, "histogram");
    }

    fn series(&self, out: &mut String, labels: &str, counts: &BucketCounts, bounds: &Bounds) {
        let [bucket_name, sum_name, count_name] = &self.parts;
        let mut count = 0;
        for (bucket, n) in counts.counts().enumerate() {
            count += n;
            let mut with_bound = labels.to_owned();
            push_label(&mut with_bound, "le", bounds.text(bucket));
            push_sample(out, bucket_name, &with_bound, count);
        }
        push_sample(out, sum_name, labels, counts.sum_seconds());
        push_sample(out, count_name, labels, count);
    }
}
