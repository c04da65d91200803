//! What the layers of a request know of each other: one extension, since each one costs every request.

use std::{any::Any, fmt, sync::Arc};

use super::Place;
use crate::AfterCommit;

/// The request extension that names a participant to the layer that owns the transaction.
///
/// ```
/// # use async_trait::async_trait;
/// # use scalekit_core::{AfterCommit, OperationId, Result, http::Participants};
/// # struct Quiet;
/// # #[async_trait] impl AfterCommit for Quiet {
/// #     fn name(&self) -> &'static str { "quiet" }
/// #     fn record(&self) -> Result<Option<Vec<u8>>> { Ok(None) }
/// #     async fn apply(&self, _: OperationId, _: &[u8]) -> Result<()> { Ok(()) }
/// # }
/// let mut participants = Participants::default();
/// participants.add(std::sync::Arc::new(Quiet));
/// assert_eq!(participants.iter().map(|one| one.name()).collect::<Vec<_>>(), ["quiet"]);
/// assert!(participants.find::<Quiet>().is_some());
/// ```
#[derive(Clone, Default)]
pub struct Participants {
    // Nearly always there is one: it needs no list.
    first: Option<Arc<dyn AfterCommit>>,
    more: Vec<Arc<dyn AfterCommit>>,
    pub(super) reached: Option<Place>,
}

impl Participants {
    /// Adds one; a participant of the same name is replaced.
    pub fn add(&mut self, participant: Arc<dyn AfterCommit>) {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        if let Some(known) = all.find(|known| known.name() == participant.name()) {
            *known = participant;
        } else if self.first.is_none() {
            self.first = Some(participant);
        } else {
            self.more.push(participant);
        }
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn AfterCommit>> {
        self.first.iter().chain(&self.more)
    }

    /// The one of this type.
    pub fn find<T: AfterCommit>(&self) -> Option<Arc<T>> {
        self.iter().find_map(|one| {
            let any: Arc<dyn Any + Send + Sync> = one.clone();
            any.downcast().ok()
        })
    }
}

impl fmt::Debug for Participants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|one| one.name())).finish()
    }
}
