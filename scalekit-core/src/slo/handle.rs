//! The value that owns the counters: makes the layer, renders and snapshots.

use std::fmt;
use std::sync::Arc;

use http::Method;
use http::request::Parts;

use super::bounds::Bounds;
use super::exposition::{is_label_name, push_label};
use super::journey::{Journey, Step};
use super::layer::SloLayer;
use super::objective::Objective;
use super::routes::{Routes, SlotId};
use super::set::ObjectiveSet;
use super::slot::Slot;
use super::snapshot::{ObjectiveRow, RouteRow, objective_rows, rows};
use super::tally::Tally;
use super::text;
use crate::http::AroundLayer;
use crate::{Error, ErrorKind, Result};

/// Label names that our families use.
const RESERVED: [&str; 8] = [
    "http_request_method",
    "http_route",
    "http_response_status_code",
    "outcome",
    "slo",
    "step",
    "zone",
    "le",
];

/// The counters of one app; a clone shares them. The module's page has an example.
#[derive(Clone)]
pub struct Slo(Arc<Inner>);

struct Inner {
    set: ObjectiveSet,
    bounds: Arc<Bounds>,
    routes: Routes,
    journeys: Vec<Arc<Journey>>,
    labels: String,
}

impl Slo {
    /// Counters for these objectives, all 0.
    pub fn new(set: ObjectiveSet) -> Self {
        Self::with_labels(set, String::new())
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
        SloBuilder { set, labels: Vec::new() }
    }

    /// The layer that measures; put it outside of every other layer, once per app.
    ///
    /// `route_of` finds the pattern of the matched route (`/orders/{id}`, never the path `/orders/7`), `None` if no
    /// route matched. With axum that is
    /// `|parts| parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str)`, with `Router::layer` after the
    /// routes have been added.
    pub fn layer(
        &self,
        route_of: impl for<'a> Fn(&'a Parts) -> Option<&'a str> + Send + Sync + 'static,
    ) -> AroundLayer<SloLayer> {
        AroundLayer::new(SloLayer::new(self.clone(), route_of))
    }

    /// All series in Prometheus' text format; serve them as [`CONTENT_TYPE`](super::CONTENT_TYPE).
    pub fn render(&self) -> String {
        text::render(std::slice::from_ref(self))
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
    pub(super) fn slot_id(&self, route: Option<&str>, method: &Method) -> SlotId {
        self.0.routes.id(route, method, &self.0.bounds)
    }

    pub(super) fn slot(&self, id: SlotId) -> &Slot {
        self.0.routes.slot(id, &self.0.bounds)
    }

    pub(super) fn slots(&self) -> Vec<&Slot> {
        self.0.routes.slots()
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.0.bounds
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

    fn with_labels(set: ObjectiveSet, labels: String) -> Self {
        let bounds = Bounds::with_thresholds(set.objectives().iter().filter_map(Objective::threshold_nanos));
        let bounds = Arc::new(bounds);
        let journeys = set.objectives().iter().enumerate().filter(|(_, objective)| objective.until.is_some());
        let journeys = journeys.map(|(at, journey)| Arc::new(Journey::new(at, journey, &bounds)));
        let journeys = journeys.collect::<Vec<_>>();
        let routes = Routes::new(&set, &journeys, &bounds);
        Self(Arc::new(Inner { set, bounds, routes, journeys, labels }))
    }
}

impl fmt::Debug for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slo").field("service", &self.0.set.service()).finish_non_exhaustive()
    }
}

/// Adds constant labels to a [`Slo`]; see [`Slo::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SloBuilder {
    set: ObjectiveSet,
    labels: Vec<(String, String)>,
}

impl SloBuilder {
    /// Adds a label to every series, such as `pod="1"`.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Makes the counters, all 0.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a label name that Prometheus refuses, that our families use themselves, or that is
    /// given twice.
    pub fn build(self) -> Result<Slo> {
        let mut labels = String::new();
        for (at, (name, value)) in self.labels.iter().enumerate() {
            let refuse = |why| Err(Error::new(ErrorKind::Config, format!("the label name {name:?} {why}")));
            if !is_label_name(name) {
                return refuse("is not a letter or underscore followed by letters, digits and underscores");
            }
            if RESERVED.contains(&name.as_str()) {
                return refuse("is one of those that the exported families use");
            }
            if self.labels[..at].iter().any(|(earlier, _)| earlier == name) {
                return refuse("is given twice");
            }
            push_label(&mut labels, name, value);
        }
        Ok(Slo::with_labels(self.set, labels))
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
/// [`ErrorKind::Misuse`] if two of them carry the same labels.
pub fn render_all(slos: &[Slo]) -> Result<String> {
    for (at, slo) in slos.iter().enumerate() {
        if slos[..at].iter().any(|earlier| earlier.labels() == slo.labels()) {
            let labels = slo.labels();
            let message =
                format!("two Slo values carry the labels {{{labels}}}: give each a label of its own");
            return Err(Error::new(ErrorKind::Misuse, message));
        }
    }
    Ok(text::render(slos))
}
