//! One pod: an app on a runtime of its own, so that ending the runtime ends everything the app ever spawned.

use std::{future::Future, pin::Pin, sync::Arc, thread, time::Duration};

use axum::Router;
use scalekit::{
    Workers,
    http::{Request, Response},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// How long the open requests of a pod that is stopped may take to end.
const REQUESTS_END: Duration = Duration::from_secs(5);
/// How long what requests left running may take to end, and its background work then.
pub(crate) const SETTLED: Duration = Duration::from_secs(2);
const WORKERS_END: Duration = Duration::from_millis(2500);
/// How long a runtime that ends may wait for its threads to drop what they run.
const THREADS_END: Duration = Duration::from_millis(250);

/// A request on its way to a pod, and where the answer goes. The answer's absence is the front's 502.
pub(crate) struct Job {
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Response>,
}

/// What runs in a pod.
pub(crate) struct App {
    pub(crate) router: Router,
    pub(crate) workers: Workers,
    /// Waits for what requests left running, once no request is open.
    pub(crate) settle: Settle,
}

/// See [`App::settle`].
pub(crate) type Settle = Pin<Box<dyn Future<Output = ()> + Send>>;
/// An app that is starting.
pub(crate) type Starting = Pin<Box<dyn Future<Output = scalekit::Result<App>> + Send>>;
/// Starts the app of the pod with this number, on the runtime that polls it.
pub(crate) type Start = Arc<dyn Fn(u32) -> Starting + Send + Sync>;

/// What a pod is started with.
pub(crate) struct Launch {
    pub(crate) number: u32,
    pub(crate) start: Start,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) kill: CancellationToken,
    pub(crate) ready: oneshot::Sender<scalekit::Result<()>>,
}

/// Runs a pod on a thread of its own, since a runtime must not be dropped within another; calls `ended` at the end,
/// however it ends.
pub(crate) fn spawn(launch: Launch, ended: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    // First of all: whatever fails below, the pod's place must not stay taken.
    let ended = OnDrop(Some(ended));
    let name = format!("pod-{}", launch.number);
    let threads = Builder::new_multi_thread().thread_name(&name).enable_all().build()?;
    thread::Builder::new().name(name).spawn(move || {
        run(threads, launch);
        drop(ended);
    })?;
    Ok(())
}

/// Returns when the jobs' channel is closed and the pod has drained, or `kill` fires.
fn run(runtime: Runtime, launch: Launch) {
    let Launch { number, start, jobs, kill, ready } = launch;
    let life = async {
        match start(number).await {
            Ok(app) => {
                let _nobody_waits = ready.send(Ok(()));
                live(app, jobs, &kill).await;
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    };
    let whole = runtime.block_on(async {
        tokio::select! {
            biased;
            () = kill.cancelled() => false,
            () = life => true,
        }
    });
    tracing::info!(pod = number, drained = whole, "the pod has ended");
    runtime.shutdown_timeout(THREADS_END);
}

async fn live(mut app: App, mut jobs: mpsc::Receiver<Job>, kill: &CancellationToken) {
    let open = TaskTracker::new();
    while let Some(job) = jobs.recv().await {
        open.spawn(answer(app.router.clone(), job, kill.clone()));
    }
    open.close();
    if timeout(REQUESTS_END, open.wait()).await.is_err() {
        tracing::warn!("a request did not end in time");
    }
    app.settle.await;
    app.workers.drain(WORKERS_END).await;
}

/// Gives up when the front does: its client has hung up.
async fn answer(router: Router, job: Job, kill: CancellationToken) {
    let Job { request, mut reply } = job;
    tokio::select! {
        // Tasks of a killed pod end in any order: what a request makes of the end of its own is no answer.
        Ok(response) = router.oneshot(request) => if !kill.is_cancelled() {
            let _hung_up = reply.send(response);
        },
        () = reply.closed() => {}
    }
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
}
