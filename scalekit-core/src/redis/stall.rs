//! Telling a server that does not answer from a process that was not run.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, error::Elapsed, timeout_at};

/// A timer that fires this much too late fired in a process that was short of processor time.
const STALLED: Duration = Duration::from_millis(5);

/// Waits until the deadline. Where this process was held up beyond it, an answer may lie unread: it gets as long again,
/// at most `budget`, before it is given up.
pub(super) async fn wait<T>(
    deadline: Instant,
    budget: Duration,
    answer: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let mut answer = pin!(answer);
    let answered = timeout_at(deadline, &mut answer).await;
    let late = Instant::now().saturating_duration_since(deadline);
    if answered.is_ok() || late < STALLED {
        return answered;
    }
    timeout_at(Instant::now() + late.min(budget), answer).await
}
