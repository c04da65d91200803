//! Sessions that are to end and that nobody waits for: tried again in the background, within bounds.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::sleep};

use crate::{
    store::{Ending, SessionKey},
    visit::Shared,
};

/// Endings that are under way at a time; what comes beyond ends with its idle time.
const AT_ONCE: usize = 256;
/// Tries of one ending; the last comes about half a minute after the first.
const TRIES: u32 = 8;

/// The room for endings in the background.
pub(crate) struct Leftovers(Arc<Semaphore>);

impl Default for Leftovers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// When the first try comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    None,
    /// One has just failed.
    Pause,
}

impl Shared {
    /// Ends a session that a sign-in has replaced, or that was stolen. Until then, its cookie opens what it held.
    pub(crate) fn end_later(self: &Arc<Self>, key: SessionKey, ending: Ending, delay: Delay) {
        let Ok(room) = Arc::clone(&self.leftovers.0).try_acquire_owned() else {
            if self.may_log() {
                tracing::warn!("a session was not ended, and too many are tried again already");
            }
            return;
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            for attempt in 0..TRIES {
                if attempt > 0 || delay == Delay::Pause {
                    sleep(Duration::from_millis(200) * 2_u32.pow(attempt.min(6))).await;
                }
                // A change that came meanwhile came by the old cookie: it goes, too.
                match shared.store.end(&key, None, ending, shared.request_budget).await {
                    Err(error) if error.is_transient() => {}
                    Err(error) => {
                        if shared.may_log() {
                            tracing::warn!("a session cannot be ended: {error}");
                        }
                        break;
                    }
                    Ok(_) => break,
                }
                if attempt + 1 == TRIES && shared.may_log() {
                    tracing::warn!("a session was not ended; it ends with its idle time");
                }
            }
            drop(room);
        });
    }
}
