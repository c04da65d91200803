//! What the proxy counts, and the delay it is told.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

/// Shared by the handle, the worker and all connections.
#[derive(Debug, Default)]
pub(super) struct Shared {
    round_trips: AtomicU64,
    up: AtomicU64,
    down: AtomicU64,
    accepted: AtomicU64,
    open: AtomicU64,
    delay_nanos: AtomicU64,
    /// Bytes are swallowed.
    pub(super) hole: AtomicBool,
}

impl Shared {
    pub(super) fn set_delay(&self, delay: Duration) {
        self.delay_nanos.store(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), SeqCst);
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay_nanos.load(SeqCst))
    }

    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(SeqCst)
    }

    pub(super) fn bytes_up(&self) -> u64 {
        self.up.load(SeqCst)
    }

    pub(super) fn bytes_down(&self) -> u64 {
        self.down.load(SeqCst)
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(SeqCst)
    }

    pub(super) fn open(&self) -> u64 {
        self.open.load(SeqCst)
    }

    pub(super) fn reset(&self) {
        for count in [&self.round_trips, &self.up, &self.down, &self.accepted] {
            count.store(0, SeqCst);
        }
    }
}

/// The counts of one connection; it is open until this is dropped.
pub(super) struct Turns {
    pub(super) shared: Arc<Shared>,
    /// The client has sent something that the server has not answered yet.
    client_spoke: AtomicBool,
}

impl Turns {
    pub(super) fn accepted(shared: Arc<Shared>) -> Self {
        shared.accepted.fetch_add(1, SeqCst);
        shared.open.fetch_add(1, SeqCst);
        Self { shared, client_spoke: AtomicBool::new(false) }
    }

    /// To be called before the bytes are passed on, so that the answer finds it.
    pub(super) fn client_sent(&self, bytes: usize) {
        self.shared.up.fetch_add(bytes as u64, SeqCst);
        self.client_spoke.store(true, SeqCst);
    }

    /// To be called before the bytes are passed on, so that the client that reads them finds them counted.
    pub(super) fn server_sent(&self, bytes: usize) {
        self.shared.down.fetch_add(bytes as u64, SeqCst);
        if self.client_spoke.swap(false, SeqCst) {
            self.shared.round_trips.fetch_add(1, SeqCst);
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Shared, Turns};

    #[test]
    fn a_round_trip_is_an_answer_after_the_client_has_sent() {
        let shared = Arc::new(Shared::default());
        let turns = Turns::accepted(Arc::clone(&shared));
        turns.server_sent(1);
        assert_eq!(shared.round_trips(), 0, "a greeting is none");
        turns.client_sent(1);
        turns.client_sent(1);
        assert_eq!(shared.round_trips(), 0, "no answer yet");
        turns.server_sent(1);
        turns.server_sent(1);
        assert_eq!(shared.round_trips(), 1, "bursts are one");
        turns.client_sent(1);
        turns.server_sent(1);
        turns.client_sent(1);
        assert_eq!((shared.round_trips(), shared.bytes_up(), shared.bytes_down()), (2, 4, 4));
    }
}
