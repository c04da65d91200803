//! A store in whose way a test stands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use scalekit_core::{Error, ErrorKind, OperationId, Result};
use scalekit_session::{
    MemoryStore, Sessions, Store,
    store::{
        Change, Committed, Created, Creation, Ending, Listed, Loaded, Removed, Rotated, Rules, SessionKey,
        Successor, Tidings,
    },
};

use super::{ring, with};

/// Where a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Under way to the store.
    Asked(&'static str),
    /// Done there, and the answer on its way.
    Done(&'static str),
}

pub type Hook = dyn Fn(Step) -> BoxFuture<'static, Result<()>> + Send + Sync;

/// A memory store that asks the test at each step of each call: it may wait there, or be told to fail. A sign-in takes two
/// calls, as in a Cluster.
#[derive(Clone)]
pub struct Hooked {
    pub store: MemoryStore,
    pub hook: Arc<Hook>,
}

impl Hooked {
    pub fn new<F>(hook: impl Fn(Step) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self { store: MemoryStore::new(), hook: Arc::new(move |step| Box::pin(hook(step))) }
    }

    pub fn sessions(&self) -> Sessions {
        with(Sessions::builder(self.clone(), ring()))
    }

    async fn around<T>(&self, call: &'static str, answer: impl Future<Output = Result<T>>) -> Result<T> {
        (self.hook)(Step::Asked(call)).await?;
        let answer = answer.await?;
        (self.hook)(Step::Done(call)).await?;
        Ok(answer)
    }
}

#[async_trait]
impl Store for Hooked {
    async fn load(&self, key: &SessionKey, rules: &Rules, budget: Duration) -> Result<Loaded> {
        self.around("load", self.store.load(key, rules, budget)).await
    }

    async fn commit(
        &self,
        key: &SessionKey,
        changes: &[Change],
        operation: Option<OperationId>,
        rules: &Rules,
        budget: Duration,
    ) -> Result<Committed> {
        self.around("commit", self.store.commit(key, changes, operation, rules, budget)).await
    }

    async fn create(&self, creation: &Creation, rules: &Rules, budget: Duration) -> Result<Created> {
        self.around("create", self.store.create(creation, rules, budget)).await
    }

    async fn end(
        &self,
        key: &SessionKey,
        version: Option<u64>,
        ending: Ending,
        budget: Duration,
    ) -> Result<Removed> {
        self.around("end", self.store.end(key, version, ending, budget)).await
    }

    async fn rotate(
        &self,
        from: &SessionKey,
        to: &SessionKey,
        successor: Successor,
        budget: Duration,
    ) -> Result<Rotated> {
        self.around("rotate", self.store.rotate(from, to, successor, budget)).await
    }

    async fn list(&self, index: &str, prefix: &str, rules: &Rules, budget: Duration) -> Result<Vec<Listed>> {
        self.around("list", self.store.list(index, prefix, rules, budget)).await
    }

    async fn revoke(&self, index: &str, prefix: &str, except: Option<&str>, budget: Duration) -> Result<u64> {
        self.around("revoke", self.store.revoke(index, prefix, except, budget)).await
    }

    async fn peek(&self, key: &SessionKey, budget: Duration) -> Result<Option<SessionKey>> {
        self.around("peek", self.store.peek(key, budget)).await
    }

    fn tidings(&self, namespace: &str) -> Box<dyn Tidings> {
        self.store.tidings(namespace)
    }

    fn spans_prefixes(&self) -> bool {
        false
    }
}

/// A store whose next endings fail.
#[derive(Clone)]
pub struct Flaky {
    pub store: Hooked,
    pub failures: Arc<AtomicU32>,
    pub tried: Arc<AtomicU32>,
}

impl Flaky {
    pub fn new(failures: u32) -> Self {
        let (failures, tried) = (Arc::new(AtomicU32::new(failures)), Arc::<AtomicU32>::default());
        let (left, counted) = (failures.clone(), tried.clone());
        let store = Hooked::new(move |step| {
            let mut fails = false;
            if step == Step::Asked("end") {
                counted.fetch_add(1, Ordering::SeqCst);
                fails =
                    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            }
            async move { if fails { Err(unanswered()) } else { Ok(()) } }
        });
        Self { store, failures, tried }
    }
}

pub fn unanswered() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "no answer")
}
