//! What a service promises for which routes: declared once, checked once.

use std::collections::{HashMap, HashSet};

use super::objective::{Objective, config};
use super::overrides::{self, Override, folded};
use super::routes::{MAX_ROUTES, method_index};
use crate::Result;

/// Bounds the buckets: each objective can add two.
const MAX_OBJECTIVES: usize = 64;

/// The checked objectives of a service; give it to [`Slo::new`](super::Slo::new).
#[derive(Clone, Debug)]
pub struct ObjectiveSet {
    service: String,
    objectives: Vec<Objective>,
}

impl ObjectiveSet {
    /// Starts the declaration of a service's objectives; see [`Objective`] for an example.
    pub fn builder(service: impl Into<String>) -> ObjectiveSetBuilder {
        ObjectiveSetBuilder { service: service.into(), objectives: Vec::new(), overrides: Vec::new() }
    }

    /// The name of the service.
    pub fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn objectives(&self) -> &[Objective] {
        &self.objectives
    }
}

/// Collects objectives until [`build`](Self::build) checks them.
#[derive(Clone, Debug)]
#[must_use]
pub struct ObjectiveSetBuilder {
    service: String,
    objectives: Vec<Objective>,
    overrides: Vec<Override>,
}

impl ObjectiveSetBuilder {
    /// Adds an objective.
    pub fn objective(mut self, objective: Objective) -> Self {
        self.objectives.push(objective);
        self
    }

    /// Other numbers for the objectives from the environment of this process, so that a target changes without a build:
    /// `<PREFIX>_<NAME>_LATENCY`, `_TARGET` and `_AVAILABILITY`, the name in capitals and with `-` as `_`.
    ///
    /// With the prefix `SCALEKIT_SLO` the objective `checkout-paid` listens to `SCALEKIT_SLO_CHECKOUT_PAID_LATENCY=250ms`
    /// (a whole number with `us`, `ms`, `s`, `m` or `h`) and `SCALEKIT_SLO_CHECKOUT_PAID_TARGET=0.995`.
    /// [`build`](Self::build) refuses every variable with this prefix that it cannot use, so a typing error is no
    /// promise that silently stays what it was. The environment is read now; what is said later wins.
    pub fn overrides_from_env(mut self, prefix: &str) -> Self {
        self.overrides.extend(Override::from_env(prefix));
        self
    }

    /// The same from a list of pairs, their keys without a prefix.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::Method;
    /// use scalekit_core::slo::{Objective, ObjectiveSet, Slo};
    ///
    /// let checkout = Objective::new("checkout").route(Method::POST, "/checkout");
    /// let checkout = checkout.latency(Duration::from_millis(300)).target(0.99);
    /// let set = ObjectiveSet::builder("shop").objective(checkout);
    ///
    /// let slow = set.clone().overrides([("CHECKOUT_LATENCY".to_owned(), "2s".to_owned())]).build()?;
    /// assert_eq!(Slo::new(slow).objective_rows()[0].threshold, Some(2.0));
    /// let typo = set.overrides([("CHEKOUT_LATENCY".to_owned(), "2s".to_owned())]).build().unwrap_err();
    /// assert_eq!(typo.to_string(), "CHEKOUT_LATENCY names the objective CHEKOUT; there are CHECKOUT");
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn overrides(mut self, pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        self.overrides.extend(pairs.into_iter().map(|(key, value)| Override::new(key, value)));
        self
    }

    /// Checks the whole declaration.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the objective: no service name, no objective or more
    /// than 64, a name used twice or differing from another only in case and `-` for `_`, an override that fits no
    /// objective or has no number, no route, more than 256 routes, a non-standard method, a route twice in one
    /// objective or in two that are no journeys, a journey without latency or step, a threshold without target or the
    /// other way round, a threshold outside of 100 µs to 1 h, a share that is not between 0 and 1, an availability
    /// below the target, `ok` excluded, a failure excluded beside an availability.
    pub fn build(self) -> Result<ObjectiveSet> {
        let Self { service, mut objectives, overrides } = self;
        if service.is_empty() {
            return Err(config("the objective set has an empty service name".to_owned()));
        }
        if objectives.is_empty() {
            return Err(config(format!("the objective set of {service:?} has no objective")));
        }
        if objectives.len() > MAX_OBJECTIVES {
            let n = objectives.len();
            return Err(config(format!("{n} objectives; at most {MAX_OBJECTIVES} fit in the bucket bounds")));
        }
        let mut names: HashMap<String, &str> = HashMap::new();
        for Objective { name, .. } in &objectives {
            match names.insert(folded(name), name) {
                Some(earlier) if earlier == name => {
                    return Err(config(format!("objective {name:?} is declared twice")));
                }
                Some(earlier) => {
                    let both = folded(name);
                    return Err(config(format!(
                        "objectives {earlier:?} and {name:?} are both {both} to the variables that override them"
                    )));
                }
                None => {}
            }
        }
        let changed = overrides::apply(&mut objectives, &overrides)?;
        let (mut routes, mut taken) = (HashSet::new(), HashMap::new());
        for (objective, changed) in objectives.iter().zip(changed) {
            objective.check().map_err(|error| match changed.as_slice() {
                [] => error,
                changed => config(format!("{error} (with {})", changed.join(", "))),
            })?;
            let name = &objective.name;
            for (method, route) in &objective.routes {
                routes.insert(route);
                // Journeys share routes, so each has room of its own.
                let owner = objective.until.as_ref().map(|_| name);
                if let Some(other) = taken.insert((owner, method_index(method), route), name) {
                    return Err(config(format!(
                        "objective {name:?} names {method} {route}, which the objective {other:?} has already"
                    )));
                }
            }
        }
        let routes = routes.len();
        if routes > MAX_ROUTES {
            return Err(config(format!(
                "the objectives name {routes} routes; at most {MAX_ROUTES} have series"
            )));
        }
        Ok(ObjectiveSet { service, objectives })
    }
}
