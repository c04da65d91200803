//! The rolling deployment: users go on while the nodes are restarted one by one.

use std::{
    convert::Infallible,
    fmt,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use scalekit_core::http::{Inner, Request};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    answer::{Answer, Visitor},
    browser::Browser,
    fleet::{Factory, Fleet, Node, erased},
    report::Report,
    user::{Make, Number, Plan, Recognise, User},
};

/// Restarts the nodes of an application one by one while users go on, and reports who lost what.
///
/// The application is a factory of `axum::Router`s, as many as there are nodes, in this process. Each user signs in once
/// and then, until the last node has been restarted, writes (one or two requests in parallel), reads, and compares. A
/// user has a browser with cookies, and asks the live nodes in turn, never one node only. A node is restarted as
/// a deployment does it: it gets no new requests, those under way end, it is dropped, and the factory makes the next
/// [generation](Node::generation), which can have another schema, other keys, other code.
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use scalekit_core::{KeyRing, Principal, Result, http::principal_layer};
/// use scalekit_session::{Counter, MemoryStore, Session, Sessions, testing::RollingRestart};
///
/// const VIEWS: Counter = Counter::new("views");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// // What all nodes share: in your test `RedisStore::new(Redis::open(..)?)`, and the ring of the service.
/// let (store, ring) = (MemoryStore::new(), KeyRing::generate()?);
/// let app = move |_node| {
///     let sessions = Sessions::builder(store.clone(), ring.clone()).build().unwrap();
///     let read = async |session: Session| session.counter(VIEWS).await.map(|views| views.to_string());
///     Router::new()
///         .route("/views", get(read).post(async |session: Session| session.incr(VIEWS, 1)))
///         .route_layer(principal_layer(sessions.principal()))
///         .route("/sign-in", post(async |s: Session| s.sign_in(&Principal::user("ada"), "test").await))
///         .layer(sessions.layer())
/// };
/// let report = RollingRestart::new(app)
///     .sign_in(|visitor| visitor.post("/sign-in"))
///     .write(|visitor| visitor.post("/views"))
///     .read(|visitor| visitor.get("/views"))
///     .run()
///     .await;
/// report.assert_none_lost();
/// # assert_eq!((report.users, report.restarts), (200, 3));
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
///
/// - Before the first restart, between any two, and after the last, every user completes at least one whole step:
///   writes and a read. All requests of one user go to the live nodes in turn.
/// - A read has no write of its user beside it. An acknowledged write that it does not show is counted as lost.
/// - A node is dropped before its next generation is made.
///
/// # Non-guarantees
///
/// - The seed (printed) fixes which node is restarted when and how many writes a step has, not how tasks interleave: a
///   race can be found by one run and not by the next.
/// - A write that was answered by a 5xx may have happened: up to as many more than were acknowledged are accepted, and can
///   hide as many that were lost. [`Report::assert_none_failed`] accepts no 5xx.
/// - Nodes are in one process. What they share through `static`s, or what is captured by the factory, a deployment does
///   not share.
/// - Nodes are drained, never killed. `Path` and `Domain` of cookies are not looked at.
#[must_use = "does nothing before `run`"]
pub struct RollingRestart {
    factory: Factory,
    sign_in: Option<Make>,
    write: Option<Make>,
    read: Option<Make>,
    number: Number,
    anonymous: Recognise,
    users: usize,
    nodes: usize,
    rollouts: usize,
    parallel_writes: usize,
    at_once: usize,
    within: Duration,
    seed: Option<u64>,
}

impl RollingRestart {
    /// Of this application: the factory makes each node, and makes it anew at each restart, as a process does when it
    /// starts. Whatever is to be shared by the nodes is captured by it or, better, found by it under a URL.
    pub fn new<S: Inner<Error = Infallible>>(app: impl Fn(Node) -> S + Send + Sync + 'static) -> Self {
        Self {
            factory: Box::new(move |node| erased(app(node))),
            sign_in: None,
            write: None,
            read: None,
            number: Box::new(Answer::number),
            anonymous: Box::new(|answer| matches!(answer.status.as_u16(), 401 | 403 | 300..=399)),
            users: 200,
            nodes: 3,
            rollouts: 1,
            parallel_writes: 2,
            at_once: 32,
            within: Duration::from_secs(60),
            seed: None,
        }
    }

    /// The request that signs a visitor in. Any answer below 400 is a success.
    pub fn sign_in(mut self, request: impl Fn(Visitor) -> Request + Send + Sync + 'static) -> Self {
        self.sign_in = Some(Box::new(request));
        self
    }

    /// The request that adds 1 to a number in the visitor's session.
    pub fn write(mut self, request: impl Fn(Visitor) -> Request + Send + Sync + 'static) -> Self {
        self.write = Some(Box::new(request));
        self
    }

    /// The request whose answer tells the number. It need not be 0 at first.
    pub fn read(mut self, request: impl Fn(Visitor) -> Request + Send + Sync + 'static) -> Self {
        self.read = Some(Box::new(request));
        self
    }

    /// How the number stands in the answer to a read; [`Answer::number`] by default: it is the whole body.
    ///
    /// ```
    /// # use axum::{Router, body::Body, extract::Request};
    /// # use scalekit_session::testing::{RollingRestart, Visitor};
    /// # let app = |_| Router::new();
    /// let rolling = RollingRestart::new(app)
    ///     .number(|answer| answer.json::<serde_json::Value>()?["items"].as_u64())
    ///     .anonymous(|answer| answer.status == 401 || answer.text().contains("Please sign in"));
    /// ```
    pub fn number(mut self, number: impl Fn(&Answer) -> Option<u64> + Send + Sync + 'static) -> Self {
        self.number = Box::new(number);
        self
    }

    /// How an answer to nobody is recognised; by default 401, 403 and every redirect. Tell it where a write is answered by a
    /// redirect, or where pages for guests have status 200.
    pub fn anonymous(mut self, is_anonymous: impl Fn(&Answer) -> bool + Send + Sync + 'static) -> Self {
        self.anonymous = Box::new(is_anonymous);
        self
    }

    /// How many users there are; 200 by default.
    ///
    /// # Panics
    /// If it is 0, as nothing would be tested.
    pub fn users(mut self, users: usize) -> Self {
        assert!(users > 0, "a rolling restart without users tests nothing");
        self.users = users;
        self
    }

    /// How many nodes there are; 3 by default. Where it is 1, requests wait while it restarts.
    ///
    /// # Panics
    /// If it is 0.
    pub fn nodes(mut self, nodes: usize) -> Self {
        assert!(nodes > 0, "a rolling restart without nodes answers nothing");
        self.nodes = nodes;
        self
    }

    /// How many deployments follow each other, each a restart of all nodes; 1 by default. A change that needs two
    /// (accept the new key everywhere, then sign with it) is tested with 2 and generations 0, 1 and 2.
    ///
    /// # Panics
    /// If it is 0.
    pub fn rollouts(mut self, rollouts: usize) -> Self {
        assert!(rollouts > 0, "a rolling restart without a rollout restarts nothing");
        self.rollouts = rollouts;
        self
    }

    /// How many writes a user has under way in parallel, at most, as from several tabs; 2 by default.
    ///
    /// # Panics
    /// If it is 0.
    pub fn parallel_writes(mut self, writes: usize) -> Self {
        assert!(writes > 0, "users who do not write lose nothing");
        self.parallel_writes = writes;
        self
    }

    /// How many requests of all users are under way, at most; 32 by default, so that a slow machine is no overload.
    ///
    /// # Panics
    /// If it is 0 or above 100,000.
    pub fn at_once(mut self, requests: usize) -> Self {
        assert!((1..=100_000).contains(&requests), "{requests} requests at once are not 1 to 100,000");
        self.at_once = requests;
        self
    }

    /// How long it may take; 60 s by default. After that it ends, and its report is `cut_short`.
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// What the random choices depend on; another one each time by default. It is printed.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the nodes and the users, restarts each node, and reports. Must be called in a tokio runtime with time; if
    /// the future is dropped, the users stop.
    ///
    /// # Panics
    /// Without [`sign_in`](Self::sign_in), [`write`](Self::write) or [`read`](Self::read), and if a closure panics. A
    /// panic of the application's handlers is a server error in the report.
    pub async fn run(self) -> Report {
        let missing = |what: &str| -> Make { panic!("the rolling restart was not told how to {what}") };
        let seed = self.seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default());
        eprintln!("rolling restart: seed {seed}");
        let plan = Arc::new(Plan {
            sign_in: self.sign_in.unwrap_or_else(|| missing("sign in")),
            write: self.write.unwrap_or_else(|| missing("write")),
            read: self.read.unwrap_or_else(|| missing("read")),
            number: self.number,
            anonymous: self.anonymous,
            parallel_writes: self.parallel_writes,
        });
        let started = Instant::now();
        let mut random = Random(seed);
        let report = Report { seed, users: self.users, nodes: self.nodes, ..Report::default() };
        let report = Arc::new(Mutex::new(report));
        let fleet = Arc::new(Fleet::start(self.factory, self.nodes));
        let at_once = Arc::new(Semaphore::new(self.at_once));
        let pace = Arc::new(Pace::new(self.users));
        let mut users = JoinSet::new();
        for number in 0..self.users {
            let browser = Browser::new(fleet.clone(), at_once.clone(), random.below(self.nodes));
            let random = Random(random.next());
            let user = User::new(Visitor { number }, browser, plan.clone(), report.clone(), random);
            users.spawn(live(user, pace.clone()));
        }
        let mut order: Vec<usize> = (0..self.nodes).collect();
        let rolling = async {
            for _ in 0..self.rollouts {
                random.shuffle(&mut order);
                for index in &order {
                    pace.everybody_went_on().await;
                    fleet.restart(*index).await;
                }
            }
            pace.everybody_went_on().await;
            pace.over.store(true, Ordering::Release);
        };
        let ending = async {
            let mut ended = Vec::new();
            while let Some(user) = users.join_next().await {
                match user {
                    Ok(user) => ended.push(user),
                    Err(error) => resume_unwind(error.into_panic()),
                }
            }
            ended
        };
        // A closure that panics ends the users' side first, with its panic.
        let both = timeout(self.within, async { tokio::join!(rolling, ending).1 }).await;
        let ended = both.as_deref().unwrap_or_default();
        let restarts = fleet.restarts();
        let confirmed = ended.iter().filter(|user| user.confirmed_after(restarts)).count();
        let mut report = report.lock().unwrap_or_else(PoisonError::into_inner).clone();
        report.restarts = restarts;
        report.unconfirmed_users = self.users - confirmed;
        report.cut_short = both.is_err();
        report.elapsed = started.elapsed();
        report
    }
}

impl fmt::Debug for RollingRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RollingRestart")
            .field("users", &self.users)
            .field("nodes", &self.nodes)
            .field("rollouts", &self.rollouts)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

async fn live(mut user: User, pace: Arc<Pace>) -> User {
    while !pace.over.load(Ordering::Acquire) {
        user.step().await;
        pace.stepped(user.visitor.number);
        // An application that never waits must not keep the others from their turn.
        tokio::task::yield_now().await;
    }
    user
}

/// How far everybody is.
struct Pace {
    steps: Vec<AtomicUsize>,
    stepped: Notify,
    over: AtomicBool,
}

impl Pace {
    fn new(users: usize) -> Self {
        let steps = (0..users).map(|_| AtomicUsize::new(0)).collect();
        Self { steps, stepped: Notify::new(), over: AtomicBool::new(false) }
    }

    fn stepped(&self, user: usize) {
        if let Some(steps) = self.steps.get(user) {
            steps.fetch_add(1, Ordering::Release);
        }
        self.stepped.notify_one();
    }

    /// Until every user has completed a step that began after this was called: the one under way, and another.
    async fn everybody_went_on(&self) {
        let now = |at: &AtomicUsize| at.load(Ordering::Acquire);
        let goals: Vec<usize> = self.steps.iter().map(|steps| now(steps) + 2).collect();
        for (steps, goal) in self.steps.iter().zip(goals) {
            while now(steps) < goal {
                self.stepped.notified().await;
            }
        }
    }
}

/// Random numbers that depend on the seed alone (`SplitMix64`).
pub(super) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
