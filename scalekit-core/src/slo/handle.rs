//! The value that owns the counters: makes the layer, renders and snapshots.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use axum_core::body::Body;
use http::{HeaderMap, Method, header};
use tokio::time::Instant;

use super::bounds::{Bounds, nanos};
use super::budgets::Budgets;
use super::builder::SloBuilder;
use super::exposition::push_label;
use super::hops::Hops;
use super::journey::{Journey, Step};
use super::lags::Lags;
use super::layer::SloLayer;
use super::naming::Naming;
use super::objective::Objective;
use super::rate::Rate;
use super::report::{Report, report};
use super::routes::Routes;
use super::set::ObjectiveSet;
use super::slot::Slot;
use super::snapshot::{ObjectiveRow, RouteRow, objective_rows, rows};
use super::tally::Tally;
use super::tenants::Tenants;
use super::text::{self, Format};
use crate::http::{AroundLayer, Request, Response};
use crate::{Error, ErrorKind, Result, Signals};

/// The counters of one app; a clone shares them. The module's page has an example.
#[derive(Clone)]
pub struct Slo(Arc<Inner>);

struct Inner {
    set: ObjectiveSet,
    bounds: Arc<Bounds>,
    routes: Routes,
    journeys: Vec<Arc<Journey>>,
    hops: Hops,
    lags: Lags,
    budgets: Budgets,
    rate: Rate,
    tenants: Option<Tenants>,
    /// Times are counted from here.
    epoch: Instant,
    naming: Naming,
    /// The constant labels, and as exported.
    constants: Vec<(String, String)>,
    labels: String,
}

impl Slo {
    /// Counters for these objectives, all 0.
    pub fn new(set: ObjectiveSet) -> Self {
        Self::with(set, Naming::default(), Vec::new(), false)
    }

    /// Starts a [`Slo`] whose series carry labels of their own.
    ///
    /// ```
    /// # use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
    /// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
    /// # let set = ObjectiveSet::builder("shop").objective(objective).build()?;
    /// let slo = Slo::builder(set).label("pod", "1").build()?;
    /// assert!(slo.render().contains("scalekit_slo_requests_total{pod=\"1\",slo=\"cart\"} 0\n"));
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn builder(set: ObjectiveSet) -> SloBuilder {
        SloBuilder::new(set)
    }

    /// The layer that measures; put it outside of every other layer, once per app: a request that passes two of them is
    /// counted twice.
    ///
    /// `route_of` finds the pattern of the matched route (`/orders/{id}`, never the path `/orders/7`), `None` if no
    /// route matched. With axum that is
    /// `|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)`, with `Router::layer` after the
    /// routes have been added.
    pub fn layer(
        &self,
        route_of: impl for<'a> Fn(&'a Request) -> Option<&'a str> + Send + Sync + 'static,
    ) -> AroundLayer<SloLayer> {
        AroundLayer::new(SloLayer::new(self.clone(), route_of))
    }

    /// All series in Prometheus' text format; serve them as [`CONTENT_TYPE`](super::CONTENT_TYPE).
    pub fn render(&self) -> String {
        text::render(std::slice::from_ref(self), Format::Prometheus)
    }

    /// The answer to a scrape, as OpenMetrics if its `Accept` header names that, else as [`render`](Self::render).
    ///
    /// An application that appends families of its own uses [`render`](Self::render): OpenMetrics ends with a mark.
    ///
    /// ```
    /// # use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
    /// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
    /// # let slo = Slo::new(ObjectiveSet::builder("shop").objective(objective).build()?);
    /// use axum::{Router, http::HeaderMap, routing::get};
    ///
    /// let scrape = slo.clone();
    /// let app: Router = Router::new().route("/metrics", get(move |headers: HeaderMap| async move { scrape.scrape(&headers) }));
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("accept", "application/openmetrics-text;version=1.0.0".parse().unwrap());
    /// let answer = slo.scrape(&headers);
    /// assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn scrape(&self, headers: &HeaderMap) -> Response {
        let format = Format::accepted(headers.get(header::ACCEPT));
        let text = text::render(std::slice::from_ref(self), format);
        let mut answer = Response::new(Body::from(text));
        answer.headers_mut().insert(header::CONTENT_TYPE, format.content_type());
        answer
    }

    /// One row per route and method, ordered by route, declared ones from the start; since the process started.
    ///
    /// ```
    /// # use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
    /// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
    /// # let slo = Slo::new(ObjectiveSet::builder("shop").objective(objective).build()?);
    /// let rows = slo.snapshot();
    /// assert_eq!((rows[0].method, &*rows[0].route, rows[0].count), ("GET", "/cart", 0));
    /// assert_eq!(rows[0].p95, None);
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn snapshot(&self) -> Vec<RouteRow> {
        rows(self)
    }

    /// One row per objective, journeys included, in the order of their declaration; since the process started.
    ///
    /// ```
    /// # use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
    /// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
    /// # let slo = Slo::new(ObjectiveSet::builder("shop").objective(objective).build()?);
    /// let rows = slo.objective_rows();
    /// assert_eq!((&*rows[0].objective, rows[0].total, rows[0].apdex), ("cart", 0, None));
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn objective_rows(&self) -> Vec<ObjectiveRow> {
        objective_rows(self)
    }

    /// Everything at once, ready for JSON: routes, objectives and their budgets, operations, queues.
    pub fn report(&self) -> Report {
        report(self)
    }

    /// What the crates of the family, and the application, take to report times and lags to it.
    ///
    /// ```
    /// # use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
    /// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
    /// # let slo = Slo::new(ObjectiveSet::builder("shop").objective(objective).build()?);
    /// use scalekit_core::Hop;
    ///
    /// let signals = slo.signals(); // give it to pools, sessions, idempotency keys, relays, consumers
    /// signals.start(Hop::Service, "tax").end("ok");
    /// assert_eq!(slo.report().operations[0].operation, "tax");
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn signals(&self) -> Signals {
        Signals::to(Arc::new(self.clone()))
    }

    /// The last step of a journey, by the name of its objective; [`Step`] has an example.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if no objective has this name, or if it is no journey.
    pub fn step(&self, objective: &str) -> Result<Step> {
        let declared = self.0.set.objectives();
        let refuse = |why| Err(Error::new(ErrorKind::Config, format!("objective {objective:?} {why}")));
        let Some(at) = declared.iter().position(|declared| declared.name == objective) else {
            return refuse("is not declared, so it has no step");
        };
        match self.0.journeys.iter().find(|journey| journey.objective == at) {
            Some(journey) => Ok(Step(journey.clone())),
            None => refuse("is no journey: it ends with the response, not with a step"),
        }
    }

    /// The objectives it was made with.
    pub fn objectives(&self) -> &ObjectiveSet {
        &self.0.set
    }

    /// Where a request is counted.
    pub(super) fn slot(&self, route: Option<&str>, method: &Method) -> &Arc<Slot> {
        self.0.routes.slot(route, method)
    }

    pub(super) fn slots(&self) -> Vec<&Slot> {
        self.0.routes.slots()
    }

    pub(super) fn bounds(&self) -> &Arc<Bounds> {
        &self.0.bounds
    }

    #[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "text has them written out"))]
    pub(super) fn constants(&self) -> &[(String, String)] {
        &self.0.constants
    }

    /// The constant labels as exported.
    pub(super) fn labels(&self) -> &str {
        &self.0.labels
    }

    pub(super) fn journeys(&self) -> &[Arc<Journey>] {
        &self.0.journeys
    }

    /// Each objective with the sums over its routes; a journey with its own.
    pub(super) fn tallies(&self) -> Vec<(&Objective, Tally)> {
        let mut tallies: Vec<_> =
            self.0.set.objectives().iter().map(|objective| (objective, Tally::default())).collect();
        for slot in self.slots() {
            if let Some((_, sum)) = slot.objective().and_then(|at| tallies.get_mut(at)) {
                *sum += slot.tally();
            }
        }
        for journey in self.journeys() {
            if let Some((_, sum)) = tallies.get_mut(journey.objective) {
                *sum += journey.tally();
            }
        }
        tallies
    }

    pub(super) fn hops(&self) -> &Hops {
        &self.0.hops
    }

    pub(super) fn lags(&self) -> &Lags {
        &self.0.lags
    }

    pub(super) fn budgets(&self) -> &Budgets {
        &self.0.budgets
    }

    pub(super) fn rate(&self) -> &Rate {
        &self.0.rate
    }

    pub(super) fn tenants(&self) -> Option<&Tenants> {
        self.0.tenants.as_ref()
    }

    pub(super) fn naming(&self) -> Naming {
        self.0.naming
    }

    /// Nanoseconds since these counters were made.
    pub(super) fn now(&self) -> u64 {
        nanos(self.0.epoch.elapsed())
    }

    /// Shows the counters to the budgets, and what is in flight to itself, whose sum must be read from time to time; the
    /// time of it.
    pub(super) fn look(&self) -> u64 {
        let now = self.now();
        for slot in self.slots() {
            slot.in_flight().read(now);
        }
        self.0.budgets.look(|| (self.now(), self.tallies().into_iter().map(|(_, tally)| tally).collect()))
    }

    /// Called when a request has ended: budgets are looked at also where nobody scrapes.
    pub(super) fn look_if_due(&self, now: u64) {
        if self.0.budgets.is_due(now) {
            self.look();
        }
    }

    pub(super) fn with(
        set: ObjectiveSet,
        naming: Naming,
        constants: Vec<(String, String)>,
        tenants: bool,
    ) -> Self {
        let mut labels = String::new();
        constants.iter().for_each(|(name, value)| push_label(&mut labels, name, value));
        let bounds = Bounds::with_thresholds(set.objectives().iter().filter_map(Objective::threshold_nanos));
        let bounds = Arc::new(bounds);
        let journeys = set.objectives().iter().enumerate().filter(|(_, objective)| objective.until.is_some());
        let journeys = journeys.map(|(at, journey)| Arc::new(Journey::new(at, journey, &bounds)));
        let journeys = journeys.collect::<Vec<_>>();
        let routes = Routes::new(&set, &journeys, &bounds);
        let budgets = Budgets::new(set.objectives());
        Self(Arc::new(Inner {
            set,
            bounds,
            routes,
            journeys,
            hops: Hops::default(),
            lags: Lags::default(),
            budgets,
            rate: Rate::default(),
            tenants: tenants.then(Tenants::new),
            epoch: Instant::now(),
            naming,
            constants,
            labels,
        }))
    }
}

impl fmt::Debug for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slo").field("service", &self.0.set.service()).finish_non_exhaustive()
    }
}

/// Renders several apps of one process as one exposition: each family once, with the series of every app.
///
/// ```
/// # use scalekit_core::slo::{Objective, ObjectiveSet, Slo, render_all};
/// # let objective = Objective::new("cart").route(http::Method::GET, "/cart").availability(0.999);
/// # let set = ObjectiveSet::builder("shop").objective(objective).build()?;
/// let pods = [
///     Slo::builder(set.clone()).label("pod", "0").build()?,
///     Slo::builder(set).label("pod", "1").build()?,
/// ];
/// let text = render_all(&pods)?;
/// assert_eq!(text.matches("# TYPE scalekit_slo_requests_total counter\n").count(), 1);
/// assert!(text.contains("scalekit_slo_requests_total{pod=\"1\",slo=\"cart\"} 0\n"));
///
/// // Without a label of its own a second app would write the same series again.
/// assert!(render_all(&[pods[0].clone(), pods[0].clone()]).is_err());
/// # Ok::<(), scalekit_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::Misuse`] if two of them carry the same labels, or are named differently.
pub fn render_all(slos: &[Slo]) -> Result<String> {
    let of = |slo: &Slo| slo.constants().iter().cloned().collect::<BTreeSet<_>>();
    for (at, slo) in slos.iter().enumerate() {
        let refuse = |message| Err(Error::new(ErrorKind::Misuse, message));
        if slos[..at].iter().any(|earlier| of(earlier) == of(slo)) {
            let labels = slo.labels();
            return refuse(format!(
                "two Slo values carry the labels {{{labels}}}: give each a label of its own"
            ));
        }
        if slos[..at].iter().any(|earlier| earlier.naming() != slo.naming()) {
            return refuse("Slo values of different namings cannot be one exposition".to_owned());
        }
    }
    Ok(text::render(slos, Format::Prometheus))
}
