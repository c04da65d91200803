//! The one listener of the process: it hands each request to the next running pod, once.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, response::IntoResponse, serve::ListenerExt};
use scalekit::http::{Request, Response};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::pods::{Dispatched, Pods};
use crate::problems;

/// Hands requests to pods.
pub(crate) struct Front {
    pods: Arc<Pods>,
}

/// A front that serves.
pub(crate) struct Serving {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Front {
    pub(crate) fn new(pods: Arc<Pods>) -> Self {
        Self { pods }
    }

    /// Serves on a task of the current runtime.
    pub(crate) fn serve(self, listener: TcpListener) -> Serving {
        let stop = CancellationToken::new();
        let router = Router::new().fallback(dispatch).with_state(self.pods);
        // Answers are small and written whole: waiting for more to fill a segment only delays them.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY on a connection");
            }
        });
        let serve = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "the listener failed");
            }
        });
        Serving { stop, task }
    }
}

impl Serving {
    /// Accepts no more, and waits at most `within` for the open requests.
    pub(crate) async fn end(mut self, within: Duration) {
        self.stop.cancel();
        if timeout(within, &mut self.task).await.is_err() {
            tracing::warn!("a request did not end in time");
            self.task.abort();
        }
    }
}

async fn dispatch(State(pods): State<Arc<Pods>>, request: Request) -> Response {
    match pods.dispatch(request) {
        Dispatched::To(answer) => answer.await.unwrap_or_else(|_| problems::pod_killed().into_response()),
        Dispatched::Nowhere => problems::not_serving("No pod of this process runs").into_response(),
        Dispatched::Full => problems::not_serving("The pod does not keep up").into_response(),
    }
}
