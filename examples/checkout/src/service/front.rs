//! The one listener of the process: it hands each request to the next running pod, once.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use axum::{body::Body, response::IntoResponse};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use scalekit::http::Response;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::pods::{Dispatched, Pods};
use crate::problems;

/// How long to wait where the system has no descriptor for another connection.
const NO_DESCRIPTOR: Duration = Duration::from_millis(100);

/// What clients may take up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open connections; those beyond wait in the system's queue until one of them ends.
    pub(crate) connections: usize,
    /// The time for a request's head, the wait for its first byte included: so long may a connection be idle.
    pub(crate) head: Duration,
    /// The time within which some of an answer must be taken.
    pub(crate) write: Duration,
}

/// How many descriptors a process is to have, if it may.
const DESCRIPTORS: u64 = 16_384;

impl Limits {
    /// Raises what the system lets this process open, and keeps half of that for databases and files.
    pub(crate) fn of_process() -> Self {
        let mut limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
        if limit.current.is_some_and(|now| now < wanted) {
            let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
            match setrlimit(Resource::Nofile, raised) {
                Ok(()) => limit.current = Some(wanted),
                Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
            }
        }
        let most = Self::default().connections;
        let share = limit.current.map_or(most, |now| usize::try_from(now / 2).unwrap_or(most));
        Self { connections: share.clamp(1, most), ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4096, head: Duration::from_secs(15), write: Duration::from_secs(15) }
    }
}

/// Hands requests to pods.
#[derive(Clone)]
pub(crate) struct Front {
    pods: Arc<Pods>,
    limits: Limits,
    /// Accepts no more, and lets the connections end after the request that they are at.
    stop: CancellationToken,
    /// Ends the connections.
    cut: CancellationToken,
}

/// A front that serves.
pub(crate) struct Serving {
    stop: CancellationToken,
    cut: CancellationToken,
    task: JoinHandle<()>,
}

impl Front {
    pub(crate) fn new(pods: Arc<Pods>, limits: Limits) -> Self {
        Self { pods, limits, stop: CancellationToken::new(), cut: CancellationToken::new() }
    }

    /// Serves on a task of the current runtime.
    pub(crate) fn serve(self, listener: TcpListener) -> Serving {
        let (stop, cut) = (self.stop.clone(), self.cut.clone());
        Serving { stop, cut, task: tokio::spawn(self.run(listener)) }
    }

    async fn run(self, listener: TcpListener) {
        let (open, places) = (TaskTracker::new(), Arc::new(Semaphore::new(self.limits.connections)));
        while let Some(accepted) = self.stop.run_until_cancelled(accept(&listener, &places)).await {
            match accepted {
                Ok((stream, place)) => drop(open.spawn(self.clone().connection(stream, place))),
                Err(error) => {
                    tracing::warn!(%error, "no connection was accepted");
                    self.stop.run_until_cancelled(sleep(NO_DESCRIPTOR)).await;
                }
            }
        }
        drop(listener);
        open.close();
        open.wait().await;
    }

    async fn connection(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        // Answers are small and written whole: waiting for more to fill a segment only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY on a connection");
        }
        let pods = self.pods;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let dispatched = pods.dispatch(request.map(Body::new));
            async move { Ok::<_, Infallible>(answer(dispatched).await) }
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .serve_connection(TokioIo::new(Box::pin(stream)), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                self.cut.run_until_cancelled(connection).await
            }
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

impl Serving {
    /// Accepts no more, waits at most `within` for the open requests, and drops those that have not ended: no client
    /// keeps the pods from ending.
    pub(crate) async fn end(mut self, within: Duration) {
        self.stop.cancel();
        if timeout(within, &mut self.task).await.is_err() {
            tracing::warn!("a request did not end in time");
            self.cut.cancel();
            if let Err(error) = self.task.await {
                tracing::error!(%error, "the listener failed");
            }
        }
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, place)),
            // The client was gone before it was its turn.
            Err(error) if is_the_clients(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn answer(dispatched: Dispatched) -> Response {
    match dispatched {
        Dispatched::To(answer) => answer.await.unwrap_or_else(|_| problems::pod_killed().into_response()),
        Dispatched::Nowhere => problems::not_serving("No pod of this process runs").into_response(),
        Dispatched::Full => problems::not_serving("The pod does not keep up").into_response(),
    }
}
