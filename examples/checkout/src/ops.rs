//! The numbers of this process: as Prometheus text, and as the tables of the operations page.

use scalekit::{
    Result,
    outbox::Parked,
    slo::{Exposition, Report, render_all},
};
use serde_json::{Value, json};

use crate::{app::Pod, watch::Seen};

/// How many tenants of each pod the page names.
const TOP: usize = 10;

/// Everything of all pods.
pub(crate) fn metrics(pod: &Pod) -> Result<String> {
    let slos = pod.shared.registry.slos();
    let mut text = render_all(&slos)?;
    let mut own = Exposition::new();
    for pod in pod.shared.registry.pods() {
        own = pod_metrics(own, &pod);
    }
    text.push_str(&own.render());
    Ok(text)
}

fn pod_metrics(mut out: Exposition, pod: &Pod) -> Exposition {
    let number = pod.number.to_string();
    for (name, help, value) in pod.sessions.sessions.metrics().counters() {
        let name = format!("checkout_session_{name}_total");
        out = out.counter(&name, help).sample(&[("pod", number.as_str())], value as f64);
    }
    for seen in pod.watch.databases() {
        let labels = [("pod", number.as_str()), ("database", seen.name.as_str())];
        let up = if seen.lag.is_some() { 1.0 } else { 0.0 };
        out = out.gauge("checkout_outbox_up", "Whether the outbox answers.").sample(&labels, up);
        if seen.lag.is_some() {
            out = out
                .gauge("checkout_outbox_parked_keys", "Keys whose events were set aside.")
                .sample(&labels, seen.parked.len() as f64);
        }
    }
    out
}

/// The tables of the page, each `{"columns": [..], "rows": [[..], ..]}`.
pub(crate) fn tables(pod: &Pod) -> Value {
    let databases = pod.watch.databases();
    let reports: Vec<(u32, Report)> =
        pod.shared.registry.pods().iter().map(|pod| (pod.number, pod.slo.report())).collect();
    json!({
        "routes": routes(&reports),
        "objectives": objectives(&reports),
        "operations": operations(&reports),
        "tenants": tenants(&reports),
        "shards": shards(pod, &databases),
        "outbox": outbox(&databases),
        "parked": parked(pod),
    })
}

fn routes(reports: &[(u32, Report)]) -> Value {
    let row = |(pod, report): &(u32, Report)| {
        let rows = report.routes.iter().map(|row| {
            json!([
                pod,
                row.method,
                row.route,
                row.count,
                row.p50,
                row.p95,
                row.p99,
                row.threshold,
                row.in_flight
            ])
        });
        rows.collect::<Vec<_>>()
    };
    let columns =
        ["pod", "method", "route", "requests", "p50 s", "p95 s", "p99 s", "objective s", "in flight"];
    table(&columns, reports.iter().flat_map(row).collect())
}

/// Routes and journeys against what is promised for them.
fn objectives(reports: &[(u32, Report)]) -> Value {
    let row = |(pod, report): &(u32, Report)| {
        let rows = report.objectives.iter().zip(&report.budgets).map(|(row, budgets)| {
            let budget = budgets.latency.as_ref().or(budgets.availability.as_ref());
            let burn = budget.and_then(|budget| budget.burns.first()).and_then(|burn| burn.rate);
            let left = budget.and_then(|budget| budget.left_ratio);
            let until = row.until.as_deref().unwrap_or("the end of the response");
            json!([
                pod,
                row.objective,
                until,
                row.threshold,
                row.target,
                row.total,
                row.good,
                row.p95,
                row.apdex,
                left,
                burn
            ])
        });
        rows.collect::<Vec<_>>()
    };
    let columns = [
        "pod",
        "objective",
        "until",
        "within s",
        "target",
        "counted",
        "good",
        "p95 s",
        "Apdex",
        "error budget left",
        "burn rate, 5 min",
    ];
    table(&columns, reports.iter().flat_map(row).collect())
}

/// What the pods do beside the requests themselves.
fn operations(reports: &[(u32, Report)]) -> Value {
    let row = |(pod, report): &(u32, Report)| {
        let rows = report.operations.iter();
        let rows =
            rows.map(|row| json!([pod, row.hop, row.operation, row.outcome, row.count, row.p50, row.p99]));
        rows.collect::<Vec<_>>()
    };
    let columns = ["pod", "hop", "operation", "outcome", "times", "p50 s", "p99 s"];
    table(&columns, reports.iter().flat_map(row).collect())
}

/// The tenants that ask most, and those whose requests fail or are slow.
fn tenants(reports: &[(u32, Report)]) -> Value {
    let mut rows = Vec::new();
    for (pod, report) in reports {
        let Some(top) = &report.tenants else { continue };
        for (by, followed) in [("requests", &top.by_volume), ("misses", &top.by_misses)] {
            for row in followed.iter().take(TOP) {
                rows.push(json!([pod, by, row.tenant, row.count, row.total - row.good, row.p95]));
            }
        }
    }
    table(&["pod", "most", "tenant", "lately", "missed", "p95 s"], rows)
}

fn shards(pod: &Pod, databases: &[Seen]) -> Value {
    let map = pod.topology.map();
    let rows = pod.topology.shards().map(|shard| {
        let slots = map.slots_of(shard.name());
        let lag = databases.iter().find(|seen| seen.name == shard.name()).and_then(|seen| seen.lag);
        let state = if shard.is_down() { "down" } else { "up" };
        json!([shard.name(), state, slots, map.epoch(), lag.map(|lag| lag.seconds)])
    });
    table(&["shard", "state", "slots", "map epoch", "outbox lag s"], rows.collect())
}

fn outbox(databases: &[Seen]) -> Value {
    let row = |seen: &Seen| {
        let lag = seen.lag.unwrap_or_default();
        json!([seen.name, lag.seconds, lag.events, lag.rate, seen.error])
    };
    table(&["database", "lag s", "waiting", "events per s", "error"], databases.iter().map(row).collect())
}

fn parked(pod: &Pod) -> Value {
    let row = |(place, one): (String, Parked)| {
        json!([place, one.id, one.kind, one.reason, one.retry, one.attempts, one.seconds, one.behind])
    };
    let columns = ["waits in", "event", "type", "reason", "retried", "attempts", "since s", "behind it"];
    table(&columns, pod.watch.parked().into_iter().map(row).collect())
}

fn table(columns: &[&str], rows: Vec<Value>) -> Value {
    json!({"columns": columns, "rows": rows})
}
