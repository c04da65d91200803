//! The process: one listener, its pods, the simulator, and the order in which they start and end.

mod commands;
mod front;
mod hang_up;
mod pod;
mod pods;
mod state;

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    console,
    settings::Settings,
    shared::{Shared, not_started},
};

pub(crate) use pod::{App, SETTLED, Start};
pub(crate) use state::{Phase, State};

/// How long open requests may take to end; those that are late are dropped, and delay nothing that follows.
const REQUESTS_END: Duration = Duration::from_secs(4);
/// How long the pods' background work may take then: longer than a pod's own bounds, so that none which keeps
/// them is killed. Together below ten seconds.
const PODS_END: Duration = Duration::from_secs(5);

/// Why the process cannot run.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// Whether another configuration is the remedy, rather than another attempt.
    pub(crate) configuration: bool,
}

/// Serves until SIGTERM or Ctrl-C, which end it at once while it starts.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::other(format!("no runtime: {error}")))?;
    let ended = runtime.block_on(serve(settings));
    // Standard input is still being read by a thread that nothing can wake.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let bound = TcpListener::bind(settings.listen).await;
    let listener = bound.map_err(|error| Failure::other(format!("--listen {}: {error}", settings.listen)))?;
    let addr = listener.local_addr().map_err(|error| Failure::other(error.to_string()))?;
    let state = Arc::new(State::default());
    let count = settings.pods;
    hang_up::listen(settings.key_ring.clone())?;
    let shared = tokio::select! {
        opened = Shared::open(settings, Arc::clone(&state)) => opened.map_err(not_started)?,
        // Nothing has been promised to anybody yet, and what a database has not committed it forgets.
        () = stop.wanted() => return Ok(()),
    };
    let pods = pods::Pods::new(count, shared.starter());

    let front = front::Front::new(Arc::clone(&pods), front::Limits::of_process()).serve(listener);
    let started = tokio::select! {
        started = pods.start_all() => started,
        () = stop.wanted() => Ok(()),
    };
    let serves = started.is_ok() && !stop.came;
    if serves {
        state.enter(Phase::Serving);
        console::print(&format!("listening on http://{addr}"));
        commands::listen(Arc::clone(&pods));
        stop.wanted().await;
    }
    state.enter(Phase::Draining);
    tracing::info!("draining");
    let (requests_end, pods_end) = if serves { (REQUESTS_END, PODS_END) } else { Default::default() };
    front.end(requests_end).await;
    pods.stop_all(pods_end).await;
    shared.close();
    started.map_err(not_started)
}

/// SIGTERM or Ctrl-C.
struct Stop {
    term: Signal,
    interrupt: Signal,
    came: bool,
}

impl Stop {
    fn listen() -> Result<Self, Failure> {
        let on = |kind| signal(kind).map_err(|error| Failure::other(format!("no signals: {error}")));
        Ok(Self { term: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())?, came: false })
    }

    async fn wanted(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        self.came = true;
    }
}

impl Failure {
    pub(crate) fn other(message: String) -> Self {
        Self { message, configuration: false }
    }
}

#[cfg(test)]
mod tests;
