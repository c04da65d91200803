//! Who a request turned out to be for, told outward: a layer that measures sees it before its principal is known.

use std::sync::{Arc, OnceLock};

use crate::Principal;

/// Left in a request's extensions by an outer layer, filled by the principal's.
#[derive(Clone, Default)]
pub(crate) struct Whose(Arc<OnceLock<Principal>>);

impl Whose {
    pub(crate) fn is(&self, principal: &Principal) {
        let _first = self.0.set(principal.clone());
    }

    #[cfg_attr(not(feature = "slo"), allow(dead_code, reason = "only what measures asks"))]
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.0.get().map(Principal::tenant_id)
    }
}
