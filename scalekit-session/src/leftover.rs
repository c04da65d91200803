//! The session before a sign-in whose removal failed: tried again in the background, within bounds.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::sleep};

use crate::{store::SessionKey, visit::Shared};

/// Removals that are tried again at a time; what comes beyond ends with its idle time.
const AT_ONCE: usize = 256;
/// Tries of one removal; the last comes about half a minute after the sign-in.
const TRIES: u32 = 8;

/// The room for removals that are tried again.
pub(crate) struct Leftovers(Arc<Semaphore>);

impl Default for Leftovers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Shared {
    /// Removes a session that a sign-in has replaced. Until then, its cookie opens what it held before: a guest's
    /// basket, or another user's session that was signed in over.
    pub(crate) fn remove_later(self: &Arc<Self>, key: SessionKey, mark: bool) {
        let Ok(room) = Arc::clone(&self.leftovers.0).try_acquire_owned() else {
            tracing::warn!(
                "the session before a sign-in was not removed, and too many are tried again already"
            );
            return;
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            for attempt in 0..TRIES {
                sleep(Duration::from_millis(200) * 2_u32.pow(attempt.min(6))).await;
                // A change that came meanwhile came by the old cookie: it goes, too.
                match shared.store.remove(&key, None, mark, shared.request_budget).await {
                    Err(error) if error.is_transient() => {}
                    Err(error) => {
                        tracing::warn!("the session before a sign-in cannot be removed: {error}");
                        break;
                    }
                    Ok(_) => break,
                }
                if attempt + 1 == TRIES {
                    tracing::warn!(
                        "the session before a sign-in was not removed; it ends with its idle time"
                    );
                }
            }
            drop(room);
        });
    }
}
