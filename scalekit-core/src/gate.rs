//! Fail fast while a store is down: who may try, and who is told at once.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Error, ErrorKind, Result};

/// How often one caller may try a store that is down.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// Time-outs in a row that count as down.
const TIMEOUTS: u32 = 3;

/// Remembers whether a store is down.
///
/// | state | `admit` | after `succeeded` | after `timed_out` | after `refused` |
/// |---|---|---|---|---|
/// | up, n time-outs | pass | up, 0 | up, n+1; down at 3 | down |
/// | down | one caller per 100 ms passes, others get an error at once | up, 0 | down | down |
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use scalekit_core::Gate;
///
/// let gate = Gate::new("redis is down");
/// assert!(gate.admit().is_ok());
/// gate.refused();
/// assert_eq!(gate.admit().unwrap_err().to_string(), "redis is down");
/// gate.succeeded();
/// assert!(gate.admit().is_ok());
/// # }
/// ```
#[derive(Debug)]
pub struct Gate {
    message: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    timeouts: u32,
    next_probe: Option<Instant>,
}

impl Gate {
    /// A store that is taken to be up; `message` is the error of those who are turned away.
    pub fn new(message: &'static str) -> Self {
        Self { message, state: Mutex::default() }
    }

    /// Asks to use the store.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] at once while the store is down and another caller's probe is due first.
    pub fn admit(&self) -> Result<()> {
        let mut state = self.lock();
        let Some(next_probe) = state.next_probe else { return Ok(()) };
        let now = Instant::now();
        if now < next_probe {
            let error = Error::new(ErrorKind::Unavailable, self.message);
            return Err(error.with_retry_after(Duration::from_secs(1)));
        }
        state.next_probe = Some(now + PROBE_EVERY);
        Ok(())
    }

    /// Whether the store is taken to be down.
    pub fn is_down(&self) -> bool {
        self.lock().next_probe.is_some()
    }

    /// The store answered.
    pub fn succeeded(&self) {
        let mut state = self.lock();
        if state.next_probe.is_some() || state.timeouts > 0 {
            *state = State::default();
        }
    }

    /// The store did not answer in time.
    pub fn timed_out(&self) {
        let mut state = self.lock();
        state.timeouts = state.timeouts.saturating_add(1);
        if state.timeouts >= TIMEOUTS {
            state.next_probe = Some(Instant::now() + PROBE_EVERY);
        }
    }

    /// The store refused the connection or said that it is not ready.
    pub fn refused(&self) {
        self.lock().next_probe = Some(Instant::now() + PROBE_EVERY);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_probe_per_interval_while_down() {
        let gate = Gate::new("down");
        gate.refused();
        assert!(gate.is_down());
        assert!((0..100).all(|_| gate.admit().is_err()));
        tokio::time::advance(PROBE_EVERY).await;
        assert_eq!((0..100).filter(|_| gate.admit().is_ok()).count(), 1);
        gate.timed_out();
        tokio::time::advance(PROBE_EVERY).await;
        assert!(gate.admit().is_ok());
        gate.succeeded();
        assert!((0..100).all(|_| gate.admit().is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn three_timeouts_in_a_row_are_down_and_an_answer_between_resets() {
        let gate = Gate::new("down");
        (0..2).for_each(|_| gate.timed_out());
        gate.succeeded();
        (0..2).for_each(|_| gate.timed_out());
        assert!(!gate.is_down());
        gate.timed_out();
        assert!(gate.admit().is_err());
    }
}
