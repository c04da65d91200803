//! The participants of a request: what they asked for, stored with the key and carried out after COMMIT.

use std::{sync::Arc, time::Duration};

use scalekit_core::{AfterCommit, OperationId, Participants, Result};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::stored::{put, take};

/// How long the answer waits for one participant.
const WITHIN: Duration = Duration::from_millis(500);
/// Tries in the background after the answer was sent; the last is about half a minute later.
const TRIES: u32 = 8;

/// Takes what each participant asked for, as bytes to be stored.
pub(crate) fn record(participants: &Participants) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for participant in participants.iter() {
        if let Some(bytes) = participant.record()? {
            put(&mut out, participant.name().as_bytes());
            put(&mut out, &bytes);
        }
    }
    Ok(out)
}

/// Carries out what a committed record holds. A participant that fails is tried again in the background, and
/// by every replay; the answer stands.
pub(crate) async fn apply(
    participants: &Participants,
    operation: OperationId,
    recorded: &[u8],
    background: &TaskTracker,
) {
    let mut rest = recorded;
    while let (Some(name), Some(bytes)) = (take(&mut rest), take(&mut rest)) {
        let Some(participant) = participants.iter().find(|one| one.name().as_bytes() == name) else {
            continue;
        };
        match timeout(WITHIN, participant.apply(operation, bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if !error.is_transient() => {
                tracing::error!(
                    participant = participant.name(),
                    "cannot be carried out after the commit: {error}"
                );
            }
            _ => {
                background.spawn(again(Arc::clone(participant), operation, bytes.to_vec()));
            }
        }
    }
}

async fn again(participant: Arc<dyn AfterCommit>, operation: OperationId, recorded: Vec<u8>) {
    for attempt in 0..TRIES {
        sleep(Duration::from_millis(200) * 2_u32.pow(attempt.min(6))).await;
        match timeout(WITHIN, participant.apply(operation, &recorded)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) if !error.is_transient() => break,
            _ => {}
        }
    }
    tracing::warn!(
        participant = participant.name(),
        "not carried out after the commit; the next replay tries again"
    );
}
