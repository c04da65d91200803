//! What belongs to the process and not to a pod: it survives the death of any pod.

use std::{pin::Pin, sync::Arc};

use reqwest::Url;
use scalekit::{Error, ErrorKind, KeyRing};

use crate::{
    app,
    payments::Simulator,
    service::{Failure, Start, State},
    settings::Settings,
};

/// The process's own state.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) state: Arc<State>,
    pub(crate) ring: KeyRing,
    pub(crate) payments: Url,
    _simulator: Option<Simulator>,
}

impl Shared {
    /// Opens what all pods use.
    pub(crate) async fn open(settings: Settings, state: Arc<State>) -> scalekit::Result<Arc<Self>> {
        let ring = match settings.key_ring.clone() {
            Some(ring) => ring,
            None => {
                tracing::warn!(
                    "no --key-ring: the key made for this process is unknown to others and to the next one"
                );
                KeyRing::generate()?
            }
        };
        let (payments, simulator) = match settings.payments.clone() {
            Some(url) => (url, None),
            None => {
                let simulator = Simulator::start().await.map_err(|error| {
                    Error::new(ErrorKind::Internal, "the payment simulator did not start").with_source(error)
                })?;
                (simulator.url().clone(), Some(simulator))
            }
        };
        Ok(Arc::new(Self { settings, state, ring, payments, _simulator: simulator }))
    }

    /// What starts a pod's app.
    pub(crate) fn starter(self: &Arc<Self>) -> Start {
        let shared = Arc::clone(self);
        Arc::new(move |number| Box::pin(app::start(Arc::clone(&shared), number)) as Pin<Box<_>>)
    }

    /// Lets go of what must not be left behind.
    pub(crate) async fn close(&self) {}
}

/// Why the process did not start, with the whole chain of causes in one line.
pub(crate) fn not_started(error: Error) -> Failure {
    let mut message = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        message = format!("{message}: {cause}");
        next = cause.source();
    }
    Failure { message: message.replace('\n', " "), configuration: error.kind() == ErrorKind::Config }
}
