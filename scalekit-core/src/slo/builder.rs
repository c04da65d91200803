//! What a [`Slo`] can be given beside its objectives.

use super::exposition::is_label_name;
use super::handle::Slo;
use super::naming::{LABELS, Naming};
use super::set::ObjectiveSet;
use crate::{Error, ErrorKind, Result};

/// Names, constant labels and tenants of a [`Slo`]; see [`Slo::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SloBuilder {
    set: ObjectiveSet,
    naming: Naming,
    labels: Vec<(String, String)>,
    tenants: bool,
}

impl SloBuilder {
    pub(super) fn new(set: ObjectiveSet) -> Self {
        Self { set, naming: Naming::default(), labels: Vec::new(), tenants: false }
    }

    /// Adds a label to every series, such as `pod="1"`.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// What families and labels are called; [`Naming::Semconv`] unless said otherwise.
    pub fn naming(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    /// Follows the largest tenants and those with the most misses, by the principal that
    /// [`principal_layer`](crate::http::principal_layer) found: see [`Tenants`](super::Tenants) for what is bounded. Their names are in
    /// what is exported then.
    pub fn tenants(mut self) -> Self {
        self.tenants = true;
        self
    }

    /// Makes the counters, all 0.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a label name that Prometheus refuses, that our families use themselves, or that is
    /// given twice.
    pub fn build(self) -> Result<Slo> {
        for (at, (name, _)) in self.labels.iter().enumerate() {
            let refuse = |why| Err(Error::new(ErrorKind::Config, format!("the label name {name:?} {why}")));
            if !is_label_name(name) {
                return refuse("is not a letter or underscore followed by letters, digits and underscores");
            }
            if name == "le" || LABELS.iter().any(|label| label.of(self.naming) == name) {
                return refuse("is one of those that the exported families use");
            }
            if self.labels[..at].iter().any(|(earlier, _)| earlier == name) {
                return refuse("is given twice");
            }
        }
        Ok(Slo::with(self.set, self.naming, self.labels, self.tenants))
    }
}
