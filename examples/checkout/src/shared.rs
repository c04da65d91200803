//! What belongs to the process and not to a pod: it survives the death of any pod.

use std::{pin::Pin, sync::Arc, time::Duration};

use reqwest::Url;
use scalekit::{
    Error, ErrorKind, KeyRing, Result,
    outbox::Outbox,
    session::{MemoryStore, Store},
};
use tokio::time::sleep;

use crate::{
    app,
    db::{self, Databases},
    payments::Simulator,
    registry::Registry,
    service::{Failure, Start, State},
    settings::Settings,
};

/// How often migrations are tried again while a database is down.
const MIGRATE_AGAIN: Duration = Duration::from_secs(1);

/// The process's own state.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) state: Arc<State>,
    pub(crate) ring: KeyRing,
    pub(crate) databases: Databases,
    pub(crate) sessions: Arc<dyn Store>,
    pub(crate) outbox: Outbox,
    pub(crate) payments: Url,
    pub(crate) registry: Registry,
    _simulator: Option<Simulator>,
}

impl Shared {
    /// Opens what all pods use, and creates the tables.
    pub(crate) async fn open(settings: Settings, state: Arc<State>) -> Result<Arc<Self>> {
        warn(&settings);
        let ring = settings.key_ring.clone().map_or_else(KeyRing::generate, Ok)?;
        let (payments, simulator) = match settings.payments.clone() {
            Some(url) => (url, None),
            None => {
                let simulator = Simulator::start().await.map_err(|error| {
                    Error::new(ErrorKind::Internal, "the payment simulator did not start").with_source(error)
                })?;
                (simulator.url().clone(), Some(simulator))
            }
        };
        let shared = Arc::new(Self {
            databases: Databases::new(&settings)?,
            settings,
            state,
            ring,
            sessions: Arc::new(MemoryStore::new()),
            outbox: Outbox::new(),
            payments,
            registry: Registry::default(),
            _simulator: simulator,
        });
        shared.migrate().await?;
        Ok(shared)
    }

    /// What starts a pod's app.
    pub(crate) fn starter(self: &Arc<Self>) -> Start {
        let shared = Arc::clone(self);
        Arc::new(move |number| Box::pin(app::start(Arc::clone(&shared), number)) as Pin<Box<_>>)
    }

    /// Lets go of what must not be left behind.
    pub(crate) fn close(&self) {
        self.databases.close();
    }

    /// A database that is down keeps nothing else from being served, so it is migrated once it is back.
    async fn migrate(self: &Arc<Self>) -> Result<()> {
        // With pools of the size that pods get, so that a budget that does not hold is refused before anything is done.
        let topology = self.databases.topology(self.settings.pool_max)?;
        match db::migrate(&topology).await {
            Ok(()) => topology.close().await,
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the tables are created once the database is back");
                tokio::spawn(async move {
                    while let Err(error) = db::migrate(&topology).await {
                        tracing::debug!(%error, "not migrated yet");
                        sleep(MIGRATE_AGAIN).await;
                    }
                    tracing::info!("the tables are created");
                    topology.close().await;
                });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What works on one machine and surprises on two.
fn warn(settings: &Settings) {
    if settings.key_ring.is_none() {
        tracing::warn!(
            "no --key-ring: other processes, and the next run of this one, accept neither cookies nor events"
        );
    }
    if settings.public_url.as_ref().is_none_or(|url| url.scheme() == "http") {
        tracing::warn!("plain http: the session's cookie is sent without `Secure`");
    }
    if settings.redis.is_empty() {
        tracing::warn!("no --redis: sessions are in the memory of this process");
    }
}

/// Why the process did not start, with the whole chain of causes in one line.
pub(crate) fn not_started(error: Error) -> Failure {
    let mut message = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !message.contains(&cause_text) {
            message = format!("{message}: {cause_text}");
        }
        next = cause.source();
    }
    Failure { message: message.replace('\n', " "), configuration: error.kind() == ErrorKind::Config }
}
