//! A store behind the shim, and its time.

use std::{sync::Arc, time::Duration};

use scalekit_core::{Clock, ManualClock, SystemClock};
use scalekit_session::{MemoryStore, RedisStore, Store, TowerSessionStore};
use scalekit_testkit::RedisServer;
use time::OffsetDateTime;

use crate::common::{LONG, patient};

pub(crate) struct Fixture {
    store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) server: Option<RedisServer>,
}

impl Fixture {
    pub(crate) async fn all() -> [Self; 2] {
        [Self::memory(), Self::redis().await]
    }

    pub(crate) fn memory() -> Self {
        let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
        Self { store: Arc::new(MemoryStore::with_clock(clock.clone())), clock, server: None }
    }

    pub(crate) async fn redis() -> Self {
        let server = crate::common::redis().await;
        let clock = Arc::new(ManualClock::at(SystemClock.now_ms()));
        Self { store: Arc::new(RedisStore::new(patient(&server.url()))), clock, server: Some(server) }
    }

    /// A process of its own.
    pub(crate) fn node(&self) -> TowerSessionStore {
        let node = TowerSessionStore::new(self.store.clone()).clock(self.clock.clone());
        node.budget(LONG).unwrap().namespace("shop").unwrap()
    }

    pub(crate) fn within(&self, left: Duration) -> OffsetDateTime {
        let now = i128::from(self.clock.now_ms()) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(now).unwrap() + left
    }
}
