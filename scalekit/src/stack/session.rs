//! Sessions in the stack.

use scalekit_session::Sessions;

use super::Stack;

impl Stack {
    /// Gives every handler its session, and takes the principal from it.
    pub fn sessions(self, sessions: &Sessions) -> Self {
        let layer = sessions.layer();
        let mut stack = self.principal(sessions.principal());
        stack.session = Some(Box::new(move |routes| routes.route_layer(layer)));
        stack
    }
}
