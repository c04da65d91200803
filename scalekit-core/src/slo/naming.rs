//! What the exported families and labels are called.

/// The names of what is exported.
///
/// | | [`Semconv`](Self::Semconv) | [`Classic`](Self::Classic) |
/// |---|---|---|
/// | durations | `http_server_request_duration_seconds` | `http_request_duration_seconds` |
/// | in flight | `http_server_active_requests` | `in_flight_requests` |
/// | rate of the last minute | | `http_requests_per_second` |
/// | labels | `http_request_method`, `http_route`, `http_response_status_code` | `method`, `route`, `status` |
///
/// All other families are called the same under both.
///
/// ```
/// use scalekit_core::slo::{Naming, Objective, ObjectiveSet, Slo};
/// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
/// # let set = ObjectiveSet::builder("shop").objective(objective).build()?;
/// let slo = Slo::builder(set).naming(Naming::Classic).build()?;
/// assert!(slo.render().contains("in_flight_requests{method=\"GET\",route=\"/cart\"} 0\n"));
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Naming {
    /// OpenTelemetry's semantic conventions, as its Prometheus exporters write them.
    #[default]
    Semconv,
    /// The names that queries, dashboards and autoscalers from before the conventions use.
    Classic,
}

/// A family as it is called everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    semconv: &'static str,
    classic: &'static str,
    /// As OpenTelemetry names the instrument.
    pub(super) otel: &'static str,
    /// Its unit, in UCUM as OpenTelemetry wants it.
    pub(super) unit: &'static str,
}

impl Name {
    /// A family that is called the same under both namings.
    pub(super) const fn own(prometheus: &'static str, otel: &'static str, unit: &'static str) -> Self {
        Self { semconv: prometheus, classic: prometheus, otel, unit }
    }

    pub(super) const fn classic(self, classic: &'static str) -> Self {
        Self { classic, ..self }
    }

    pub(super) fn of(self, naming: Naming) -> &'static str {
        match naming {
            Naming::Semconv => self.semconv,
            Naming::Classic => self.classic,
        }
    }
}

pub(super) const METHOD: Name = Name::own("http_request_method", "http.request.method", "").classic("method");
pub(super) const ROUTE: Name = Name::own("http_route", "http.route", "").classic("route");
pub(super) const STATUS: Name =
    Name::own("http_response_status_code", "http.response.status_code", "").classic("status");
pub(super) const OUTCOME: Name = Name::own("outcome", "scalekit.outcome", "");
pub(super) const SLO: Name = Name::own("slo", "scalekit.slo", "");
pub(super) const STEP: Name = Name::own("step", "scalekit.step", "");
pub(super) const ZONE: Name = Name::own("zone", "scalekit.zone", "");
pub(super) const PROMISE: Name = Name::own("promise", "scalekit.promise", "");
pub(super) const WINDOW: Name = Name::own("window", "scalekit.window", "");
pub(super) const HOP: Name = Name::own("hop", "scalekit.hop", "");
pub(super) const OPERATION: Name = Name::own("operation", "scalekit.operation", "");
pub(super) const QUEUE: Name = Name::own("queue", "scalekit.queue", "");
pub(super) const TENANT: Name = Name::own("tenant", "scalekit.tenant", "");
pub(super) const OF: Name = Name::own("of", "scalekit.of", "");

/// Every label that a family has of its own.
pub(super) const LABELS: [Name; 14] =
    [METHOD, ROUTE, STATUS, OUTCOME, SLO, STEP, ZONE, PROMISE, WINDOW, HOP, OPERATION, QUEUE, OF, TENANT];
