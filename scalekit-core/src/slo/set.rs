//! What a service promises for which routes: declared once, checked once.

use std::collections::HashSet;

use super::objective::{Objective, config};
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
        ObjectiveSetBuilder { service: service.into(), objectives: Vec::new() }
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
}

impl ObjectiveSetBuilder {
    /// Adds an objective.
    pub fn objective(mut self, objective: Objective) -> Self {
        self.objectives.push(objective);
        self
    }

    /// Checks the whole declaration.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the objective: no service name, no objective or more than 64, a name used
    /// twice, no route, more than 256 routes, a non-standard method, a route twice
    /// in one objective or in two that are no journeys, a journey without latency or step, a threshold without target or the other way round, a threshold
    /// outside of 100 µs to 1 h, a share that is not between 0 and 1, an availability below the target, `ok` excluded, a failure excluded
    /// beside an availability.
    pub fn build(self) -> Result<ObjectiveSet> {
        let Self { service, objectives } = self;
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
        let mut names = HashSet::new();
        let (mut routes, mut taken) = (HashSet::new(), HashSet::new());
        for objective in &objectives {
            objective.check()?;
            let name = &objective.name;
            if !names.insert(name) {
                return Err(config(format!("objective {name:?} is declared twice")));
            }
            for (method, route) in &objective.routes {
                routes.insert(route);
                // Journeys share routes, so each has room of its own.
                let owner = objective.until.as_ref().map(|_| name);
                if !taken.insert((owner, method_index(method), route)) {
                    return Err(config(format!(
                        "objective {name:?} names {method} {route}, which an objective has already"
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
