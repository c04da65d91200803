//! The session's part in a transaction: record the changes in it, apply them after its commit.

use async_trait::async_trait;
use scalekit_core::{AfterCommit, Error, ErrorKind, Hop, OperationId, Result};

use crate::{
    address::{recorded_key, tag_text},
    metrics::count,
    ops::Recorded,
    store::Record,
    visit::{Fate, Known, Visit},
};

#[async_trait]
impl AfterCommit for Visit {
    fn name(&self) -> &'static str {
        "session"
    }

    fn enlist(&self) {
        self.lock().enlisted = true;
    }

    fn record(&self) -> Result<Option<Vec<u8>>> {
        let mut state = self.lock();
        if state.pending.has_updates() || !matches!(state.fate, Fate::Keep) {
            let message =
                "an update by a closure, a sign-in or a sign-out was asked for before the transaction";
            return Err(Error::new(ErrorKind::Misuse, message));
        }
        if state.pending.is_empty() {
            return Ok(None);
        }
        if matches!(state.known, Known::Missing | Known::Ended) && state.ticket(&self.shared).is_some() {
            state.pending.clear();
            count(&self.shared.counters.gone);
            return Ok(None);
        }
        let Some(ticket) = state.newest(&self.shared).cloned() else {
            let message = "a route with a transaction changes a session that is not there: sign in first";
            return Err(Error::new(ErrorKind::Misuse, message));
        };
        let changes = state.pending.over(&Record::default())?;
        let recorded = Recorded { tag: tag_text(ticket.tag), member: ticket.digest(), changes }.encode()?;
        state.pending.clear();
        Ok(Some(recorded))
    }

    fn discard(&self) {
        self.lock().pending.clear();
    }

    async fn apply(&self, operation: OperationId, recorded: &[u8]) -> Result<()> {
        let shared = &self.shared;
        let recorded = Recorded::decode(recorded)?;
        let key = recorded_key(&shared.namespace, &recorded.tag, recorded.member)?;
        // Retries go on after the request, so its budget does not count here.
        let budget = shared.request_budget;
        let commit = shared.store.commit(&key, &recorded.changes, Some(operation), &shared.rules, budget);
        let outcome = shared.signals.time(Hop::Cache, "session_commit", commit).await;
        let _ = shared.applied(shared.counted(outcome)?)?;
        if self.key()?.is_some_and(|own| own == key) {
            self.lock().forget();
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<()> {
        let was_loaded = {
            let mut state = self.lock();
            let was_loaded = !matches!(state.known, Known::Not);
            state.forget();
            was_loaded
        };
        if was_loaded {
            self.load().await?;
        }
        Ok(())
    }
}
