//! A session store that reaches a step when an order's changes of the session are about to be sent.

use std::time::Duration;

use async_trait::async_trait;
use scalekit::{
    OperationId, Result,
    session::{
        Store,
        store::{
            Change, Committed, Created, Creation, Ending, Listed, Loaded, Removed, Rotated, Rules,
            SessionKey, Successor, Tidings,
        },
    },
};

use super::reach;

struct Watched<S>(S);

/// The store, with the step `before-session-commit`: the order's transaction has been committed, and whoever commits
/// to the session (the execution, its repetition in the background, or a replay) has read what to send.
pub(crate) fn watched(store: impl Store) -> impl Store {
    Watched(store)
}

#[async_trait]
impl<S: Store> Store for Watched<S> {
    async fn load(&self, key: &SessionKey, rules: &Rules, budget: Duration) -> Result<Loaded> {
        self.0.load(key, rules, budget).await
    }

    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        budget: Duration,
    ) -> Result<Committed> {
        if operation.is_some() {
            reach("before-session-commit");
        }
        self.0.commit(key, changes, operation, rules, budget).await
    }

    async fn create(&self, creation: &Creation, rules: &Rules, budget: Duration) -> Result<Created> {
        self.0.create(creation, rules, budget).await
    }

    async fn end(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        ending: Ending,
        budget: Duration,
    ) -> Result<Removed> {
        self.0.end(key, version, ending, budget).await
    }

    async fn rotate(
        &self,
        from: &SessionKey,
        to: &SessionKey,
        successor: Successor,
        budget: Duration,
    ) -> Result<Rotated> {
        self.0.rotate(from, to, successor, budget).await
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>> {
        self.0.list(index, prefix, rules, budget).await
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64> {
        self.0.revoke(index, prefix, except, budget).await
    }

    async fn peek(&self, key: &SessionKey, budget: Duration) -> Result<Option<SessionKey>> {
        self.0.peek(key, budget).await
    }

    fn tidings(&self, namespace: &str) -> Box<dyn Tidings> {
        self.0.tidings(namespace)
    }

    fn spans_prefixes(&self) -> bool {
        self.0.spans_prefixes()
    }
}
