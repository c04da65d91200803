//! What was reported beside the requests: operations, queues; and whose requests they are.

use std::borrow::Cow;

use super::{Family, Kind, Series, Times, Value};
use crate::slo::handle::Slo;
use crate::slo::naming::{HOP, Name, OF, OPERATION, OUTCOME, QUEUE, TENANT};
use crate::slo::tenants::{TenantExport, TenantTally};

pub(super) fn add<'a>(families: &mut Vec<Family<'a>>, apps: &[(&'a Slo, u64)]) {
    hops(families, apps);
    lags(families, apps);
    tenants(families, apps);
}

fn hops<'a>(families: &mut Vec<Family<'a>>, apps: &[(&'a Slo, u64)]) {
    let name = Name::own("scalekit_hop_duration_seconds", "scalekit.hop.duration", "s");
    let series = apps.iter().flat_map(|(slo, _)| {
        slo.hops().all().into_iter().map(move |(operation, times)| Series {
            slo,
            labels: vec![
                (HOP, operation.hop.as_str().into()),
                (OPERATION, operation.name.into()),
                (OUTCOME, operation.outcome.into()),
            ],
            value: Times::cut(&times, slo.bounds()),
        })
    });
    let help = "Time of an operation beside the request itself, by how it ended.";
    families.push(Family { name, kind: Kind::Histogram, help, series: series.collect() });
}

fn lags<'a>(families: &mut Vec<Family<'a>>, now: &[(&'a Slo, u64)]) {
    let (mut items, mut seconds, mut stale) = (Vec::new(), Vec::new(), Vec::new());
    for (slo, now) in now {
        for ((queue, of), reading) in slo.lags().read(*now) {
            let labels = vec![(QUEUE, queue.into()), (OF, String::from(of).into())];
            let values = [
                (&mut items, reading.items.map(Value::Number)),
                (&mut seconds, reading.seconds.map(Value::Number)),
                (&mut stale, Some(Value::Whole(reading.stale.into()))),
            ];
            for (series, value) in values {
                if let Some(value) = value {
                    series.push(Series { slo, labels: labels.clone(), value });
                }
            }
        }
    }
    let families_of = [
        (
            Name::own("scalekit_lag_items", "scalekit.lag.items", "{item}"),
            "Items that wait in a queue; absent while nobody observes it.",
            items,
        ),
        (
            Name::own("scalekit_lag_seconds", "scalekit.lag.age", "s"),
            "Age of the oldest item of a queue; absent while nobody observes it.",
            seconds,
        ),
        (
            Name::own("scalekit_lag_stale", "scalekit.lag.stale", "1"),
            "1 if nobody has observed a queue for 30 s.",
            stale,
        ),
    ];
    for (name, help, series) in families_of {
        families.push(Family { name, kind: Kind::Gauge, help, series });
    }
}

fn tenants<'a>(families: &mut Vec<Family<'a>>, now: &[(&'a Slo, u64)]) {
    let followed = now.iter().filter_map(|(slo, now)| Some((*slo, slo.tenants()?.export(*now))));
    let followed: Vec<(&Slo, TenantExport)> = followed.collect();
    if followed.is_empty() {
        return;
    }
    let series = |value: fn(&TenantTally) -> u64| {
        let rows = followed.iter().flat_map(move |(slo, export)| {
            let named = export.tenants.iter().map(|one| (one.tenant.as_str().to_owned(), one.tally));
            let rest = [(TenantExport::OTHER, export.other), (TenantExport::FORMER, export.former)];
            let rest = rest.map(|(name, tally)| (name.to_owned(), tally));
            named.chain(rest).map(move |(tenant, tally)| {
                let labels = vec![(TENANT, Cow::from(tenant))];
                Series { slo, labels, value: Value::Whole(value(&tally)) }
            })
        });
        rows.collect()
    };
    let name = Name::own("scalekit_tenant_good_total", "scalekit.tenant.good", "{request}");
    let help = "Those that were no misses.";
    families.push(Family { name, kind: Kind::Counter, help, series: series(|tally| tally.good) });
    let name = Name::own("scalekit_tenant_requests_total", "scalekit.tenant.requests", "{request}");
    let help = "Requests by tenant: those that are large or miss most; the others together.";
    families.push(Family { name, kind: Kind::Counter, help, series: series(|tally| tally.total) });
}
