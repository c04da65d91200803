//! Idempotency keys in the stack.

use scalekit_core::db::Db;
use scalekit_idempotency::Idempotency;

use super::Stack;

impl Stack {
    /// Claims the key of each keyed route, in the transaction that its handler writes through.
    pub fn idempotency<D: Db>(mut self, idempotency: &Idempotency<D>) -> Self {
        let layer = idempotency.layer();
        self.idempotency = Some(Box::new(move |routes| routes.route_layer(layer)));
        self
    }
}
