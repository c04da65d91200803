//! The tables of each shard: created at start, or once a database that is away comes back.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use scalekit::{
    Error, ErrorKind, Principal, Result,
    db::{Tx, TxSource},
    shard::{Shard, Topology},
};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    db::{self, Db},
    orders::in_time,
};

/// How often a database that is away is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Which shards still lack their tables.
#[derive(Default)]
pub(crate) struct Tables {
    missing: Mutex<BTreeSet<String>>,
}

impl Tables {
    /// Creates them on all databases at once. One that is away keeps the others from nothing: it is tried again in
    /// the background.
    pub(crate) async fn create(self: &Arc<Self>, topology: &Topology<Db>) -> Result<()> {
        let mut creating = JoinSet::new();
        for shard in topology.databases() {
            self.lock().insert(shard.name().to_owned());
            let (tables, shard, topology) = (Arc::clone(self), shard.clone(), topology.clone());
            creating.spawn(async move { tables.create_on(shard, topology).await });
        }
        while let Some(created) = creating.join_next().await {
            created.map_err(|error| Error::new(ErrorKind::Internal, "no tables").with_source(error))??;
        }
        in_time(topology.check_distinct()).await
    }

    /// Transactions on shards that have their tables.
    pub(crate) fn source(self: &Arc<Self>, topology: &Topology<Db>) -> Source {
        Source { topology: topology.clone(), tables: Arc::clone(self) }
    }

    async fn create_on(self: Arc<Self>, shard: Shard<Db>, topology: Topology<Db>) -> Result<()> {
        match db::migrate(&shard).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(shard = shard.name(), %error, "the tables are created once the database is back");
                tokio::spawn(async move {
                    loop {
                        sleep(AGAIN).await;
                        let created = async {
                            db::migrate(&shard).await?;
                            // It was not asked at the start what it is.
                            in_time(topology.check_distinct()).await
                        };
                        match created.await {
                            Ok(()) => return self.created(&shard),
                            Err(error) if !error.is_transient() => {
                                tracing::error!(shard = shard.name(), %error, "the shard is not used");
                            }
                            Err(error) => tracing::debug!(shard = shard.name(), %error, "no tables yet"),
                        }
                    }
                });
            }
            created => {
                created?;
                self.created(&shard);
            }
        }
        Ok(())
    }

    fn created(&self, shard: &Shard<Db>) {
        tracing::debug!(shard = shard.name(), "the tables are there");
        self.lock().remove(shard.name());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Tables::source`].
#[derive(Clone)]
pub(crate) struct Source {
    topology: Topology<Db>,
    tables: Arc<Tables>,
}

#[async_trait]
impl TxSource<Db> for Source {
    async fn begin(&self, principal: &Principal) -> Result<Tx<Db>> {
        let shard = self.topology.at(self.topology.place(principal.tenant_id()).shard);
        if self.tables.lock().contains(shard.name()) {
            let error = Error::new(ErrorKind::Unavailable, "the shard has no tables yet");
            return Err(error.with_retry_after(AGAIN));
        }
        TxSource::begin(&self.topology, principal).await
    }
}
