//! Telling a server that does not answer from a process that was not run.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, timeout_at};

/// A timer that fires this much too late fired in a process that was short of processor time.
const STALLED: Duration = Duration::from_millis(5);

/// How waiting for a server has ended.
pub(super) enum Waited<T> {
    Answered(T),
    /// The server had its time.
    TimedOut,
    /// This process was held up itself, again and again: nothing is known of the server.
    Stalled,
}

/// Waits until the deadline. Where this process was held up beyond it, an answer may lie unread: it gets as long again,
/// at most `budget`, before it is given up.
pub(super) async fn wait<T>(
    deadline: Instant,
    budget: Duration,
    answer: impl Future<Output = T>,
) -> Waited<T> {
    let mut answer = pin!(answer);
    if let Ok(value) = timeout_at(deadline, &mut answer).await {
        return Waited::Answered(value);
    }
    let late = Instant::now().saturating_duration_since(deadline);
    if late < STALLED {
        return Waited::TimedOut;
    }
    let grace = Instant::now() + late.min(budget);
    match timeout_at(grace, answer).await {
        Ok(value) => Waited::Answered(value),
        Err(_) if grace.elapsed() >= STALLED => Waited::Stalled,
        Err(_) => Waited::TimedOut,
    }
}
