//! SIGHUP: the key ring is read again, while the service goes on.

use tokio::{
    signal::unix::{SignalKind, signal},
    task::spawn_blocking,
};

use super::Failure;
use crate::settings::KeyFile;

/// Listens until the process ends. Without a file nobody does, and the signal ends the process as it always has.
pub(super) fn listen(file: Option<KeyFile>) -> Result<(), Failure> {
    let Some(file) = file else { return Ok(()) };
    let no_signals = |error| Failure::other(format!("no signals: {error}"));
    let mut hang_ups = signal(SignalKind::hangup()).map_err(no_signals)?;
    tokio::spawn(async move {
        while hang_ups.recv().await.is_some() {
            let file = file.clone();
            match spawn_blocking(move || file.reload()).await {
                // What has changed is in the log by now.
                Ok(Ok(())) => {}
                Ok(Err(message)) => tracing::error!("{message}; the keys stay as they are"),
                Err(error) => tracing::error!("the key ring was not read: {error}"),
            }
        }
    });
    Ok(())
}
