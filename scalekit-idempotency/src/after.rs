//! The participants of a request: what they asked for, stored with the key and carried out after COMMIT.

use std::{sync::Arc, time::Duration};

use scalekit_core::{AfterCommit, OperationId, Result, http::Participants};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::stored::{put, take};

/// How long the answer waits for one participant.
const WITHIN: Duration = Duration::from_millis(500);
/// Tries in the background after the answer was sent; the last is about half a minute later.
const TRIES: u32 = 8;

/// Tasks of one layer that try again at a time; what comes beyond is left to the next replay.
const AT_ONCE: usize = 256;

/// The tasks of one layer that try again.
pub(crate) struct Background {
    tasks: TaskTracker,
    room: Arc<Semaphore>,
}

impl Background {
    /// Tries again as part of these tasks.
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self { tasks, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    fn again(&self, participant: &Arc<dyn AfterCommit>, operation: OperationId, recorded: &[u8]) {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(
                participant = participant.name(),
                "not carried out after the commit, and {AT_ONCE} others are tried again already; the next replay tries"
            );
            return;
        };
        let trying = again(Arc::clone(participant), operation, recorded.to_vec());
        self.tasks.spawn(async move {
            trying.await;
            drop(room);
        });
    }
}

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
    background: &Background,
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
            _ => background.again(participant, operation, bytes),
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use scalekit_core::{Error, ErrorKind};

    use super::*;

    #[derive(Default)]
    struct Down(AtomicUsize);

    #[async_trait]
    impl AfterCommit for Down {
        fn name(&self) -> &'static str {
            "down"
        }
        fn enlist(&self) {}
        fn record(&self) -> Result<Option<Vec<u8>>> {
            Ok(Some(Vec::new()))
        }
        fn discard(&self) {}
        async fn apply(&self, _: OperationId, _: &[u8]) -> Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(Error::new(ErrorKind::Unavailable, "down"))
        }
        async fn refresh(&self) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_tried_again_at_a_time() {
        let down = Arc::new(Down::default());
        let mut participants = Participants::default();
        participants.add(Arc::clone(&down) as _);
        let recorded = record(&participants).unwrap();
        let (tasks, more) = (TaskTracker::new(), 50);
        let background = Background::new(tasks.clone());
        for round in 1..=2 {
            for number in 0..AT_ONCE + more {
                apply(&participants, OperationId::new(1, number as u64), &recorded, &background).await;
            }
            assert_eq!(tasks.len(), AT_ONCE);
            // All have given up, and the room is free again.
            tasks.close();
            tasks.wait().await;
            tasks.reopen();
            assert_eq!(down.0.load(Ordering::Relaxed), round * (AT_ONCE * (1 + TRIES as usize) + more));
        }
    }
}
