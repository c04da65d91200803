//! Everything at once, for JSON.

use serde::Serialize;

use super::budget::Budget;
use super::handle::Slo;
use super::histogram::Percentiles;
use super::lag::LagReading;
use super::snapshot::{ObjectiveRow, RouteRow};
use super::tenants::TenantTop;

/// How many tenants a report names by volume, and how many by misses.
const TENANTS: usize = 20;

/// What [`Slo::report`](super::Slo::report) says: the numbers of this process since it started.
///
/// ```
/// # use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
/// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
/// # let slo = Slo::new(ObjectiveSet::builder("shop").objective(objective).build()?);
/// let json = serde_json::to_value(slo.report()).unwrap();
/// assert_eq!(json["service"], "shop");
/// assert_eq!(json["objectives"][0]["objective"], "cart");
/// assert_eq!(json["budgets"][0]["availability"]["left_ratio"], serde_json::Value::Null, "no request yet");
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The name of the service.
    pub service: String,
    /// One row per route and method.
    pub routes: Vec<RouteRow>,
    /// One row per objective, journeys included.
    pub objectives: Vec<ObjectiveRow>,
    /// What each objective may still spend, in the same order.
    pub budgets: Vec<BudgetRow>,
    /// One row per operation beside the requests themselves.
    pub operations: Vec<OperationRow>,
    /// One row per queue that somebody observes, or did.
    pub queues: Vec<QueueRow>,
    /// The tenants that matter most, where they are followed.
    pub tenants: Option<TenantTop>,
}

/// The error budgets of one objective; part of a [`Report`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BudgetRow {
    /// The objective's name.
    pub objective: String,
    /// That of its target.
    pub latency: Option<Budget>,
    /// That of its availability.
    pub availability: Option<Budget>,
}

/// One operation with one outcome; part of a [`Report`]. Times are seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OperationRow {
    /// The hop: `db`, `cache` and so on.
    pub hop: &'static str,
    /// The operation's name.
    pub operation: &'static str,
    /// How it ended.
    pub outcome: &'static str,
    /// How often.
    pub count: u64,
    /// Half of them took at most this time.
    pub p50: Option<f64>,
    /// 95 % took at most this time.
    pub p95: Option<f64>,
    /// 99 % took at most this time.
    pub p99: Option<f64>,
}

/// One queue; part of a [`Report`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueueRow {
    /// Its name.
    pub queue: &'static str,
    /// Which one of that name.
    pub of: String,
    /// How much lies in it.
    #[serde(flatten)]
    pub lag: LagReading,
}

pub(super) fn report(slo: &Slo) -> Report {
    let now = slo.look();
    let budgets = slo.objectives().objectives().iter().zip(slo.budgets().left(now));
    let operations = slo.hops().all().into_iter().map(|(operation, times)| {
        let mut all = Percentiles::new();
        all.add_cut(&times);
        let [p50, p95, p99] = all.of([50, 95, 99]);
        OperationRow {
            hop: operation.hop.as_str(),
            operation: operation.name,
            outcome: operation.outcome,
            count: times.counts().iter().sum(),
            p50,
            p95,
            p99,
        }
    });
    let queues = slo.lags().read(now).into_iter();
    Report {
        service: slo.objectives().service().to_owned(),
        routes: slo.snapshot(),
        objectives: slo.objective_rows(),
        budgets: budgets
            .map(|(objective, (latency, availability))| BudgetRow {
                objective: objective.name.clone(),
                latency,
                availability,
            })
            .collect(),
        operations: operations.collect(),
        tenants: slo.tenants().map(|tenants| tenants.top(now, TENANTS)),
        queues: queues.map(|((queue, of), lag)| QueueRow { queue, of: of.into(), lag }).collect(),
    }
}
