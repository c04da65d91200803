//! The numbers of this process: as Prometheus text, and as the tables of the operations page.

use scalekit::{
    Result,
    outbox::Parked,
    slo::{Exposition, RouteRow, render_all},
};
use serde_json::{Value, json};

use crate::{
    app::Pod,
    watch::{Seen, Tallies},
};

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
    for seen in pod.watch.databases() {
        let labels = [("pod", number.as_str()), ("database", seen.name.as_str())];
        let up = if seen.lag.is_some() { 1.0 } else { 0.0 };
        out = out.gauge("checkout_outbox_up", "Whether the outbox answers.").sample(&labels, up);
        if let Some(lag) = seen.lag {
            out = out
                .gauge("checkout_outbox_lag_seconds", "Age of the oldest event that no sink has confirmed.")
                .sample(&labels, lag.seconds)
                .gauge("checkout_outbox_lag_events", "Events that no sink has confirmed.")
                .sample(&labels, lag.events as f64)
                .gauge("checkout_outbox_parked_keys", "Keys whose events were set aside.")
                .sample(&labels, seen.parked.len() as f64);
        }
    }
    out
}

/// The tables of the page, each `{"columns": [..], "rows": [[..], ..]}`.
pub(crate) fn tables(pod: &Pod) -> Value {
    let databases = pod.watch.databases();
    json!({
        "routes": routes(pod),
        "tenants": tenants(pod),
        "shards": shards(pod, &databases),
        "outbox": outbox(&databases),
        "parked": parked(pod),
    })
}

fn routes(pod: &Pod) -> Value {
    let mut rows = Vec::new();
    for pod in pod.shared.registry.pods() {
        let recent = pod.watch.recent();
        for row in pod.slo.snapshot() {
            let left = budget_left(&row);
            let burn = burn_rate(&row, &recent);
            rows.push(json!([
                pod.number,
                row.method,
                row.route,
                row.count,
                row.p50,
                row.p95,
                row.p99,
                row.threshold,
                row.in_flight,
                left,
                burn
            ]));
        }
    }
    let columns = [
        "pod",
        "method",
        "route",
        "requests",
        "p50 s",
        "p95 s",
        "p99 s",
        "objective s",
        "in flight",
        "error budget left",
        "burn rate, 5 min",
    ];
    table(&columns, rows)
}

fn tenants(pod: &Pod) -> Value {
    let mut rows = Vec::new();
    for pod in pod.shared.registry.pods() {
        for row in pod.tenants.top(TOP) {
            rows.push(json!([pod.number, row.tenant, row.requests, row.failed, row.p99]));
        }
    }
    table(&["pod", "tenant", "requests", "failed", "p99 s at most"], rows)
}

/// The share of the error budget that is left since the pod has started; below 0 it is overspent.
fn budget_left(row: &RouteRow) -> Option<f64> {
    let (total, good, target) = (row.total?, row.good?, row.target.or(row.availability)?);
    let allowed = total as f64 * (1.0 - target);
    (allowed > 0.0).then(|| 1.0 - (total - good.min(total)) as f64 / allowed)
}

/// How many times faster than allowed the objective's budget is being spent.
fn burn_rate(row: &RouteRow, recent: &Tallies) -> Option<f64> {
    let tally = recent.get(row.objective.as_ref()?)?;
    let allowed = 1.0 - row.target.or(row.availability)?;
    let bad = (tally.total - tally.good.min(tally.total)) as f64;
    (tally.total > 0).then(|| bad / tally.total as f64 / allowed)
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
