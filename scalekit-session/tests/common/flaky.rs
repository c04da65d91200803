//! A store that fails when told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use scalekit_core::{Error, ErrorKind, OperationId, Result};
use scalekit_session::{
    MemoryStore, Sessions, Store,
    store::{
        Change, Committed, Created, Creation, Ending, Listed, Loaded, Removed, Rotated, Rules, SessionKey,
        Successor, Tidings,
    },
};

use super::{ring, with};

/// A memory store whose next endings fail, and in which a sign-in takes two calls, as in a Cluster.
#[derive(Clone)]
pub struct Flaky {
    pub store: MemoryStore,
    pub failures: Arc<AtomicU32>,
    pub tried: Arc<AtomicU32>,
}

impl Flaky {
    pub fn new(failures: u32) -> Self {
        let failures = Arc::new(AtomicU32::new(failures));
        Self { store: MemoryStore::new(), failures, tried: Arc::default() }
    }

    pub fn sessions(&self) -> Sessions {
        with(Sessions::builder(self.clone(), ring()))
    }
}

#[async_trait]
impl Store for Flaky {
    async fn load(&self, key: &SessionKey, rules: &Rules, budget: Duration) -> Result<Loaded> {
        self.store.load(key, rules, budget).await
    }

    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        budget: Duration,
    ) -> Result<Committed> {
        self.store.commit(key, changes, operation, rules, budget).await
    }

    async fn create(&self, creation: &Creation, rules: &Rules, budget: Duration) -> Result<Created> {
        self.store.create(creation, rules, budget).await
    }

    async fn end(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        ending: Ending,
        budget: Duration,
    ) -> Result<Removed> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        let fail = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if fail.is_ok() {
            return Err(Error::new(ErrorKind::OutcomeUnknown, "no answer"));
        }
        self.store.end(key, version, ending, budget).await
    }

    async fn rotate(
        &self,
        from: &SessionKey,
        to: &SessionKey,
        successor: Successor,
        budget: Duration,
    ) -> Result<Rotated> {
        self.store.rotate(from, to, successor, budget).await
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>> {
        self.store.list(index, prefix, rules, budget).await
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64> {
        self.store.revoke(index, prefix, except, budget).await
    }

    async fn peek(&self, key: &SessionKey, budget: Duration) -> Result<Option<SessionKey>> {
        self.store.peek(key, budget).await
    }

    fn tidings(&self, namespace: &str) -> Box<dyn Tidings> {
        self.store.tidings(namespace)
    }

    fn spans_prefixes(&self) -> bool {
        false
    }
}
