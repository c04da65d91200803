//! Until when events are this consumer's own.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// How long an event may still be begun here; after that it may be another's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease(Option<Arc<Mutex<Instant>>>);

impl Lease {
    /// For events that cannot become another's.
    pub(crate) fn endless() -> Self {
        Self(None)
    }

    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "the memory sink's events are never another's")
    )]
    pub(crate) fn until(end: Instant) -> Self {
        Self(Some(Arc::new(Mutex::new(end))))
    }

    /// Moves the end of all its clones.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "the memory sink's events are never another's")
    )]
    pub(crate) fn extend(&self, to: Instant) {
        if let Some(end) = &self.0 {
            *end.lock().unwrap_or_else(PoisonError::into_inner) = to;
        }
    }

    pub(crate) fn has_run_out(&self) -> bool {
        let end = self.0.as_ref().map(|end| *end.lock().unwrap_or_else(PoisonError::into_inner));
        end.is_some_and(|end| end <= Instant::now())
    }
}
