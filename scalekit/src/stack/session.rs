//! Sessions in the stack.

use scalekit_core::http::principal_layer;
use scalekit_session::Sessions;

use super::Stack;

impl Stack {
    /// Gives every handler its session, and takes the principal from it unless [`principal`](Self::principal) names it.
    pub fn sessions(mut self, sessions: &Sessions) -> Self {
        let (layer, principal) = (sessions.layer(), sessions.principal());
        self.session = Some(Box::new(move |routes| routes.route_layer(layer)));
        self.session_principal = Some(Box::new(move |routes| routes.route_layer(principal_layer(principal))));
        self
    }
}
