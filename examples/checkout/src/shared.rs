//! What belongs to the process and not to a pod: it survives the death of any pod.

use std::{pin::Pin, sync::Arc};

use reqwest::Url;
use scalekit::{
    Error, ErrorKind, KeyRing, Result, Signals,
    outbox::Outbox,
    session::{MemoryStore, Store},
};

use crate::{
    app,
    db::Databases,
    payments::Simulator,
    registry::Registry,
    service::{Failure, Start, State},
    settings::Settings,
    tables::Tables,
};

/// The process's own state.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) state: Arc<State>,
    pub(crate) ring: KeyRing,
    pub(crate) databases: Databases,
    pub(crate) tables: Arc<Tables>,
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
        let ring = settings.key_ring.as_ref().map_or_else(KeyRing::generate, |file| Ok(file.ring.clone()))?;
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
            tables: Arc::default(),
            settings,
            state,
            ring,
            sessions: Arc::new(MemoryStore::new()),
            outbox: Outbox::new(),
            payments,
            registry: Registry::default(),
            _simulator: simulator,
        });
        // With pools of the size that pods get: a budget that does not hold is refused before anything is done.
        let topology = shared.databases.topology(shared.settings.pool_max, Signals::default())?;
        shared.tables.create(&topology).await?;
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
