//! Objectives in the stack.

use axum::extract::MatchedPath;
use scalekit_core::slo::Slo;

use super::Stack;

impl Stack {
    /// Measures every answer, by axum's route templates.
    pub fn slo(mut self, slo: &Slo) -> Self {
        let layer = slo.layer(|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
        self.slo = Some(Box::new(move |routes| routes.layer(layer)));
        self
    }
}
