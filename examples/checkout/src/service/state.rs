//! Whether this process starts, serves or drains: what `/readyz` asks first.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting = 0,
    Serving = 1,
    Draining = 2,
}

/// The phase, shared by the front and all pods.
#[derive(Debug, Default)]
pub(crate) struct State(AtomicU8);

impl State {
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::SeqCst);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.0.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }
}
