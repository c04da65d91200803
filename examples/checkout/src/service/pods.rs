//! The pods of the process: which of them run, and how they are stopped, killed and started.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use scalekit::{Error, ErrorKind, http::Request};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::pod::{self, Job, Launch, Start};

/// How many requests may wait for a pod to take them up; it takes each at once unless its threads are starved.
const WAITING: usize = 1024;

/// A fixed number of places for pods, numbered from 1.
///
/// | state | `start` | `stop` | `kill` |
/// |---|---|---|---|
/// | down | starting, then up | refused | refused |
/// | starting | refused | refused | ending, then down |
/// | up | refused | ending, then down | ending, then down |
/// | ending | refused | refused | down sooner |
pub(crate) struct Pods {
    places: Mutex<Places>,
    start: Start,
}

struct Places {
    states: Vec<Place>,
    next: usize,
}

enum Place {
    Down,
    Busy(Running),
    Up(Running, mpsc::Sender<Job>),
}

/// What ends a pod, and how its end is learnt.
#[derive(Clone)]
struct Running {
    kill: CancellationToken,
    ended: CancellationToken,
}

/// What became of a request that looked for a pod.
pub(crate) enum Dispatched {
    /// A pod has it; no answer means that the pod was killed.
    To(oneshot::Receiver<scalekit::http::Response>),
    /// No pod runs.
    Nowhere,
    /// The pod whose turn it is does not keep up.
    Full,
}

/// Why a command was refused.
#[derive(Debug)]
pub(crate) struct Refusal(String);

impl Pods {
    pub(crate) fn new(count: u32, start: Start) -> Arc<Self> {
        let states = (0..count).map(|_| Place::Down).collect();
        Arc::new(Self { places: Mutex::new(Places { states, next: 0 }), start })
    }

    /// Hands a request to the next running pod. It is never handed out again.
    pub(crate) fn dispatch(&self, request: Request) -> Dispatched {
        let (reply, answer) = oneshot::channel();
        let mut places = self.lock();
        let count = places.states.len();
        for step in 0..count {
            let index = (places.next + step) % count;
            if let Place::Up(_, jobs) = &places.states[index] {
                // Under the lock, so that the pod is still up when it gets the request.
                let sent = jobs.try_send(Job { request, reply });
                places.next = index + 1;
                return if sent.is_ok() { Dispatched::To(answer) } else { Dispatched::Full };
            }
        }
        Dispatched::Nowhere
    }

    /// Starts all pods; the first failure counts.
    pub(crate) async fn start_all(self: &Arc<Self>) -> scalekit::Result<()> {
        let count = u32::try_from(self.lock().states.len()).unwrap_or(u32::MAX);
        let mut starting = JoinSet::new();
        for number in 1..=count {
            let pods = Arc::clone(self);
            starting.spawn(async move { pods.launch(number).await });
        }
        while let Some(started) = starting.join_next().await {
            match started {
                Ok(Ok(Some(failed))) => return Err(failed),
                Ok(Ok(None)) => {}
                Ok(Err(refusal)) => return Err(Error::new(ErrorKind::Internal, refusal.0)),
                Err(error) => {
                    return Err(Error::new(ErrorKind::Internal, "a pod did not start").with_source(error));
                }
            }
        }
        Ok(())
    }

    /// Stops all that run, and kills those that take longer than `within`.
    pub(crate) async fn stop_all(&self, within: Duration) {
        let mut ending = Vec::new();
        for place in &mut self.lock().states {
            if let Some(running) = place.close() {
                ending.push(running);
            }
        }
        let all = async {
            for running in &ending {
                running.ended.cancelled().await;
            }
        };
        if timeout(within, all).await.is_err() {
            tracing::warn!("a pod did not drain in time");
            ending.iter().for_each(|running| running.kill.cancel());
        }
    }

    /// Starts a pod and waits until it serves.
    pub(crate) async fn start(self: &Arc<Self>, number: u32) -> Result<(), Refusal> {
        match self.launch(number).await? {
            None => Ok(()),
            Some(error) => Err(Refusal(format!("pod {number} did not start: {error}"))),
        }
    }

    /// Drains a pod: no new requests, then its open ones, then its background work.
    pub(crate) async fn stop(&self, number: u32) -> Result<(), Refusal> {
        let running = {
            let mut places = self.lock();
            let place = places.at(number)?;
            match place {
                Place::Up(..) => place.close(),
                Place::Busy(_) => return Err(Refusal(format!("pod {number} is starting or ending"))),
                Place::Down => None,
            }
        };
        let Some(running) = running else { return Err(Refusal(format!("pod {number} does not run"))) };
        running.ended.cancelled().await;
        if running.kill.is_cancelled() {
            return Err(Refusal(format!("pod {number} was killed before it had drained")));
        }
        Ok(())
    }

    /// Drops every future of a pod and waits until they are dropped.
    pub(crate) async fn kill(&self, number: u32) -> Result<(), Refusal> {
        let running = self.lock().at(number)?.close();
        let Some(running) = running else { return Err(Refusal(format!("pod {number} does not run"))) };
        running.kill.cancel();
        running.ended.cancelled().await;
        Ok(())
    }

    /// `Some` is the failure of the app itself.
    async fn launch(self: &Arc<Self>, number: u32) -> Result<Option<Error>, Refusal> {
        let (jobs, received) = mpsc::channel(WAITING);
        let (ready, started) = oneshot::channel();
        let running = Running { kill: CancellationToken::new(), ended: CancellationToken::new() };
        {
            let mut places = self.lock();
            let place = places.at(number)?;
            let Place::Down = place else { return Err(Refusal(format!("pod {number} runs already"))) };
            *place = Place::Busy(running.clone());
        }
        let launch = Launch {
            number,
            start: Arc::clone(&self.start),
            jobs: received,
            kill: running.kill.clone(),
            ready,
        };
        let (pods, ended) = (Arc::clone(self), running.ended.clone());
        let spawned = pod::spawn(launch, move || {
            if let Ok(place) = pods.lock().at(number) {
                *place = Place::Down;
            }
            ended.cancel();
        });
        if let Err(error) = spawned {
            return Ok(Some(Error::new(ErrorKind::Internal, "no thread for a pod").with_source(error)));
        }
        match started.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                running.ended.cancelled().await;
                return Ok(Some(error));
            }
            Err(_) => return Err(Refusal(format!("pod {number} was killed while it started"))),
        }
        if let Ok(place @ Place::Busy(_)) = self.lock().at(number)
            && !running.kill.is_cancelled()
        {
            *place = Place::Up(running, jobs);
        }
        Ok(None)
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn at(&mut self, number: u32) -> Result<&mut Place, Refusal> {
        let count = self.states.len();
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        index
            .and_then(|index| self.states.get_mut(index))
            .ok_or_else(|| Refusal(format!("there is no pod {number}: they are numbered 1 to {count}")))
    }
}

impl Place {
    /// Closes the way to it, so that it drains; `None` if it is down.
    fn close(&mut self) -> Option<Running> {
        let (Self::Busy(running) | Self::Up(running, _)) = self else { return None };
        let running = running.clone();
        *self = Self::Busy(running.clone());
        Some(running)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
