//! The handle of a receiver: where it is, and what it was sent.
use std::{
    net::{Ipv4Addr, SocketAddr},
    thread::JoinHandle,
    time::Duration,
};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use super::{points::OtlpPoint, serve};

const LIMIT: Duration = Duration::from_secs(30);

/// Receives metrics as an OpenTelemetry collector does (OTLP over HTTP, protobuf), on a loopback port of its own.
///
/// What cannot be read is answered 400 and not kept; nothing but `POST /v1/metrics` is served. A compressed body is
/// refused with 415. Put a [`Proxy`](crate::Proxy) before it for a collector that is slow or gone.
///
/// It runs on a thread of its own: an exporter that blocks the test's only thread still gets its answer.
#[derive(Debug)]
pub struct OtlpReceiver {
    addr: SocketAddr,
    received: watch::Receiver<Vec<ExportMetricsServiceRequest>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OtlpReceiver {
    /// A receiver that accepts when this returns.
    pub async fn start() -> Self {
        let (sender, received) = watch::channel(Vec::new());
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let work = async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.unwrap_or_else(|e| panic!("the receiver cannot listen: {e}"));
            let _ = tell.send(listener.local_addr());
            serve::run(listener, sender, stopped).await;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|e| panic!("no runtime for the receiver: {e}"));
        let thread = std::thread::spawn(move || runtime.block_on(work));
        let Ok(Ok(addr)) = told.await else { panic!("the receiver did not start") };
        Self { addr, received, stop: Some(stop), thread: Some(thread) }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT/v1/metrics`, the endpoint of an exporter of metrics.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/v1/metrics", self.addr)
    }

    /// Every request so far, in the order of arrival.
    #[must_use]
    pub fn received(&self) -> Vec<ExportMetricsServiceRequest> {
        self.received.borrow().clone()
    }

    /// Every point of every request so far, in the order of arrival.
    #[must_use]
    pub fn points(&self) -> Vec<OtlpPoint> {
        self.received.borrow().iter().flat_map(OtlpPoint::of).collect()
    }

    /// Waits until the points received so far are as wanted, and returns them; panics after 30 s with `what` and the
    /// points there were.
    pub async fn until<F>(&self, what: &str, mut wanted: F) -> Vec<OtlpPoint>
    where
        F: FnMut(&[OtlpPoint]) -> bool,
    {
        let mut received = self.received.clone();
        let found = tokio::time::timeout(LIMIT, async {
            loop {
                // Marked as seen before it is read: what comes after that wakes this.
                received.mark_unchanged();
                let points = self.points();
                if wanted(&points) {
                    return points;
                }
                assert!(received.changed().await.is_ok(), "the receiver ended before {what}");
            }
        });
        found
            .await
            .unwrap_or_else(|_| panic!("waited {LIMIT:?} in vain until {what}; got {:#?}", self.points()))
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
