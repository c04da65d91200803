//! The nodes: requests go to the live ones in turn, one at a time is drained, dropped and made anew.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use scalekit_core::http::{Inner, Request, Response};
use tokio::sync::Notify;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// Which node a factory makes: which of them, and how often it was restarted.
///
/// ```
/// use scalekit_session::testing::Node;
///
/// // Generation 0 is what runs before the deployment, 1 is what is deployed.
/// let schema = |node: Node| if node.generation == 0 { "v1" } else { "v2" };
/// let node = Node { index: 2, generation: 1 };
/// assert_eq!((schema(node), node.to_string()), ("v2", "node 2, generation 1".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// From 0 to the number of nodes, exclusive.
    pub index: usize,
    /// How often the node was restarted; 0 at first.
    pub generation: usize,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}, generation {}", self.index, self.generation)
    }
}

/// An application without its type.
pub(super) type App = Box<dyn Fn(Request) -> Calling + Send + Sync>;
type Calling = Pin<Box<dyn Future<Output = Response> + Send>>;
pub(super) type Factory = Box<dyn Fn(Node) -> App + Send + Sync>;

pub(super) fn erased<S: Inner<Error = Infallible>>(app: S) -> App {
    // A service may be Send only.
    let app = Mutex::new(app);
    Box::new(move |request| {
        let mut app = app.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let Ok(()) = poll_fn(|cx| app.poll_ready(cx)).await;
            let Ok(response) = app.call(request).await;
            response
        })
    })
}

pub(super) struct Fleet {
    factory: Factory,
    slots: Mutex<Vec<Option<Arc<Running>>>>,
    /// A node came up.
    up: Notify,
    restarts: AtomicUsize,
}

struct Running {
    node: Node,
    app: App,
    in_flight: TaskTracker,
}

/// A node that is not dropped before this is.
pub(super) struct Held {
    // In this order: whoever waits for the last token finds the application let go.
    running: Arc<Running>,
    _token: TaskTrackerToken,
}

impl Held {
    fn of(running: &Arc<Running>) -> Self {
        Self { running: running.clone(), _token: running.in_flight.token() }
    }

    pub(super) fn node(&self) -> Node {
        self.running.node
    }

    pub(super) fn call(&self, request: Request) -> Calling {
        (self.running.app)(request)
    }
}

impl Fleet {
    pub(super) fn start(factory: Factory, nodes: usize) -> Self {
        let first = |index| {
            let node = Node { index, generation: 0 };
            Some(Arc::new(Running { node, app: factory(node), in_flight: TaskTracker::new() }))
        };
        let slots = Mutex::new((0..nodes).map(first).collect());
        Self { factory, slots, up: Notify::new(), restarts: AtomicUsize::new(0) }
    }

    /// The first live node from this turn on; waits while there is none.
    pub(super) async fn at(&self, turn: usize) -> Held {
        loop {
            let up = self.up.notified();
            if let Some(held) = self.live(turn) {
                return held;
            }
            up.await;
        }
    }

    /// This very instance of a node, unless it was restarted.
    pub(super) fn instance(&self, node: Node) -> Option<Held> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let running = slots.get(node.index)?.as_ref()?;
        (running.node == node).then(|| Held::of(running))
    }

    /// How many restarts are over.
    pub(super) fn restarts(&self) -> usize {
        self.restarts.load(Ordering::Acquire)
    }

    /// Takes a node out of the rotation, lets its requests end, drops it and has it made anew.
    pub(super) async fn restart(&self, index: usize) {
        let Some(running) = self.put(index, None) else { return };
        running.in_flight.close();
        running.in_flight.wait().await;
        let node = Node { index, generation: running.node.generation + 1 };
        drop(running);
        let next = Running { node, app: (self.factory)(node), in_flight: TaskTracker::new() };
        self.put(index, Some(Arc::new(next)));
        self.restarts.fetch_add(1, Ordering::Release);
        self.up.notify_waiters();
    }

    fn live(&self, turn: usize) -> Option<Held> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let from = turn % slots.len();
        let (before, after) = slots.split_at(from);
        after.iter().chain(before).flatten().next().map(Held::of)
    }

    fn put(&self, index: usize, next: Option<Arc<Running>>) -> Option<Arc<Running>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(slots.get_mut(index)?, next)
    }
}
