//! One promise, and what makes it contradict itself.

use std::time::Duration;

use http::Method;

use super::bounds::nanos;
use super::outcome::{Exclusions, Outcome, Terms};
use super::routes::{OTHER_METHOD, method_index};
use super::shape::Shape;
use crate::{Error, ErrorKind, Result};

const MIN_LATENCY: Duration = Duration::from_micros(100);
const MAX_LATENCY: Duration = Duration::from_secs(3_600);

/// One promise about one or more routes; [`ObjectiveSetBuilder::build`](super::ObjectiveSetBuilder::build) checks it.
///
/// It needs at least one route and a [`latency`](Self::latency) with its [`target`](Self::target), an
/// [`availability`](Self::availability), or both.
///
/// ```
/// use std::time::Duration;
/// use http::Method;
/// use scalekit_core::slo::{Objective, ObjectiveSet};
///
/// // 99 % of orders are placed within 300 ms, and 99.9 % do not fail.
/// let checkout = Objective::new("checkout")
///     .route(Method::POST, "/checkout")
///     .latency(Duration::from_millis(300))
///     .target(0.99)
///     .availability(0.999);
/// let set = ObjectiveSet::builder("shop").objective(checkout).build()?;
/// assert_eq!(set.service(), "shop");
///
/// // A latency without a target promises nothing.
/// let vague = Objective::new("cart").route(Method::GET, "/cart").latency(Duration::from_millis(50));
/// let error = ObjectiveSet::builder("shop").objective(vague).build().unwrap_err();
/// assert!(error.to_string().contains("objective \"cart\" has a latency but no target"));
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Objective {
    pub(super) name: String,
    pub(super) routes: Vec<(Method, String)>,
    pub(super) latency: Option<Duration>,
    pub(super) target: Option<f64>,
    pub(super) availability: Option<f64>,
    pub(super) shape: Option<Shape>,
    pub(super) until: Option<String>,
    exclude: Exclusions,
}

impl Objective {
    /// An objective; the name is the value of the `slo` label.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            routes: Vec::new(),
            latency: None,
            target: None,
            availability: None,
            shape: None,
            until: None,
            exclude: Exclusions::default(),
        }
    }

    /// Adds a route as the router knows it, such as `/orders/{id}`.
    pub fn route(mut self, method: Method, route: impl Into<String>) -> Self {
        self.routes.push((method, route.into()));
        self
    }

    /// The threshold T: a request that ends after at most this time is fast enough. 100 µs to 1 h.
    pub fn latency(mut self, threshold: Duration) -> Self {
        self.latency = Some(threshold);
        self
    }

    /// The share of requests that succeed within the threshold, between 0 and 1, as 0.99.
    pub fn target(mut self, share: f64) -> Self {
        self.target = Some(share);
        self
    }

    /// The share of requests that do not fail, however slow, between 0 and 1, as 0.999.
    pub fn availability(mut self, share: f64) -> Self {
        self.availability = Some(share);
        self
    }

    /// Makes it a journey: from a request of one of its routes to this step, which a consumer reports by
    /// [`Slo::step`](super::Slo::step), where an example is.
    ///
    /// The step alone says how long it took. A request that ends well is not counted: the journey begins with it, or
    /// goes on. One that fails by our fault counts as a failed journey, so a client that tries again begins another
    /// one. One that the client gave up is not counted: the journey goes on without it, or has never begun.
    ///
    /// A route may be in one objective that is no journey, and in any number of journeys.
    pub fn until(mut self, step: impl Into<String>) -> Self {
        self.until = Some(step.into());
        self
    }

    /// When the responses of its routes are judged, instead of what each response looks like.
    pub fn shape(mut self, shape: Shape) -> Self {
        self.shape = Some(shape);
        self
    }

    /// The outcomes that do not count, neither as good nor as bad: these, instead of the client errors and shed
    /// requests that do not count by default. Said again, it replaces what was said before.
    ///
    /// | outcome | excluded | counted |
    /// |---|---|---|
    /// | [`ClientError`](Outcome::ClientError) | by default | an answer: good or too slow, as an `Ok` is |
    /// | [`Shed`](Outcome::Shed) | by default | a failure |
    /// | [`CancelledHead`](Outcome::CancelledHead), [`CancelledBody`](Outcome::CancelledBody) | if named here; always within the threshold, and without one | too slow, though not a failure |
    /// | [`ServerError`](Outcome::ServerError), [`BodyError`](Outcome::BodyError), [`Panicked`](Outcome::Panicked) | if named here, which an availability forbids | a failure |
    /// | [`Ok`](Outcome::Ok) | never: nothing could be good | good or too slow |
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use http::Method;
    /// use scalekit_core::slo::{Objective, ObjectiveSet, Outcome};
    ///
    /// // A refusal under overload spends the budget, too.
    /// let pay = Objective::new("pay").route(Method::POST, "/pay").availability(0.999).exclude([Outcome::ClientError]);
    /// # ObjectiveSet::builder("shop").objective(pay).build()?;
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn exclude(mut self, outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        self.exclude = outcomes.into_iter().collect();
        self
    }

    /// What it asks of a request.
    pub(super) fn terms(&self) -> Terms {
        Terms::new(self.latency, self.exclude)
    }

    pub(super) fn threshold_nanos(&self) -> Option<u64> {
        self.latency.map(nanos)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.name.is_empty() {
            return Err(config("an objective has an empty name".to_owned()));
        }
        let refuse = |why: String| Err(config(format!("objective {:?} {why}", self.name)));
        if self.routes.is_empty() {
            return refuse("names no route".to_owned());
        }
        if let Some((_, route)) = self.routes.iter().find(|(_, route)| !route.starts_with('/')) {
            return refuse(format!("names the route {route:?}, which does not begin with a slash"));
        }
        if let Some((method, _)) = self.routes.iter().find(|(method, _)| method_index(method) == OTHER_METHOD)
        {
            return refuse(format!(
                "names the method {method}, which is counted together with all unknown ones"
            ));
        }
        if let Some(step) = &self.until {
            if step.is_empty() {
                return refuse("is a journey until a step with an empty name".to_owned());
            }
            if self.latency.is_none() {
                return refuse(format!("is a journey until {step:?}, which needs a latency"));
            }
            if self.shape.is_some() {
                return refuse(format!("is a journey until {step:?}: it has no response with a shape"));
            }
        }
        match (self.latency, self.target) {
            (Some(_), None) => return refuse("has a latency but no target".to_owned()),
            (None, Some(_)) => return refuse("has a target but no latency".to_owned()),
            (None, None) if self.availability.is_none() => {
                return refuse(
                    "promises nothing: it has neither latency and target nor availability".to_owned(),
                );
            }
            _ => {}
        }
        if let Some(latency) = self.latency.filter(|latency| !(MIN_LATENCY..=MAX_LATENCY).contains(latency)) {
            return refuse(format!(
                "has a latency of {latency:?}; it must be from {MIN_LATENCY:?} to {MAX_LATENCY:?}"
            ));
        }
        for (what, share) in [("target", self.target), ("availability", self.availability)] {
            // Written so that NaN is refused too; a share of 1 leaves no budget to count.
            if let Some(share) = share
                && !(share > 0.0 && share < 1.0)
            {
                return refuse(format!("has the {what} {share}; it must be above 0 and below 1"));
            }
        }
        if self.exclude.contains(Outcome::Ok) {
            return refuse("excludes ok, so that nothing could be good".to_owned());
        }
        let promised = |outcome: &Outcome| outcome.is_failure() && self.exclude.contains(*outcome);
        if let (Some(_), Some(excluded)) = (self.availability, Outcome::ALL.iter().find(|o| promised(o))) {
            let excluded = excluded.as_str();
            return refuse(format!("excludes {excluded}, which its availability promises not to happen"));
        }
        match (self.target, self.availability) {
            (Some(target), Some(availability)) if availability < target => refuse(format!(
                "contradicts itself: {target} succeed in time, which includes not failing, but only {availability} do not fail"
            )),
            _ => Ok(()),
        }
    }
}

pub(super) fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}
