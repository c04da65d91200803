//! Rolling restarts: what survives one is not suspected, and each fault that they are for is found and named.
#![cfg(all(feature = "redis", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod common;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    routing::{get, post},
};
use common::{LONG, VIEWS, patient, redis, ring, with};
use futures_util::FutureExt;
use scalekit_core::{KeyRing, Principal, Result, http::principal_layer};
use scalekit_session::{
    Field, MemoryStore, RedisStore, Session, Sessions, Store,
    testing::{FailureKind, Node, Report, RollingRestart},
};
use scalekit_testkit::{seed, wait_until};

const TOTAL: Field<u64> = Field::new("total");

async fn total(session: Session) -> Result<String> {
    Ok(session.get(TOTAL).await?.unwrap_or_default().to_string())
}

/// A usual mistake: the whole value is read, and written back a moment later.
async fn add_by_set(session: Session) -> Result<()> {
    let total = session.get(TOTAL).await?.unwrap_or_default();
    tokio::task::yield_now().await;
    session.set(TOTAL, &(total + 1))
}

fn shop(sessions: &Sessions) -> Router {
    let views = async |session: Session| session.counter(VIEWS).await.map(|views| views.to_string());
    Router::new()
        .route("/views", get(views).post(async |session: Session| session.incr(VIEWS, 1)))
        .route("/total", get(total).post(add_by_set))
        .route_layer(principal_layer(sessions.principal()))
        .route("/sign-in", post(async |s: Session| s.sign_in(&Principal::user("ada"), "test").await))
        .route("/guest", get(views).post(async |session: Session| session.incr(VIEWS, 1)))
        .layer(sessions.layer())
}

fn on(store: impl Store, ring: KeyRing) -> Router {
    shop(&with(Sessions::builder(store, ring)))
}

/// Users of one path, with a printed seed.
fn using(restart: RollingRestart, path: &'static str) -> RollingRestart {
    restart
        .sign_in(|visitor| visitor.post("/sign-in"))
        .write(move |visitor| visitor.post(path))
        .read(move |visitor| visitor.get(path))
        .users(30)
        .seed(seed())
}

fn complaint(check: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(check)).expect_err("it must be found");
    *panic.downcast::<String>().unwrap()
}

fn key(byte: u8) -> [u8; 32] {
    [byte; 32]
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_redis_survive_it() {
    let server = redis().await;
    let url = server.url();
    let report = using(RollingRestart::new(move |_| on(RedisStore::new(patient(&url)), ring())), "/views")
        .users(200)
        .run()
        .await;
    println!("{report}");
    report.assert_none_failed();
    assert_eq!((report.users, report.nodes, report.restarts), (200, 3, 3));
    assert_eq!((report.lost_sessions, report.lost_updates, report.re_logins), (0, 0, 0));
    // A step before each restart and after the last one, and one more under way each time.
    assert!(report.confirmed_updates >= 200 * 8 && report.elapsed < Duration::from_secs(30), "{report}");
}

#[tokio::test]
async fn a_key_that_is_replaced_in_one_step_is_found() {
    let store = MemoryStore::new();
    let app = move |node: Node| {
        let keys = [("only", key(if node.generation == 0 { 1 } else { 2 }))];
        on(store.clone(), KeyRing::from_keys(keys).unwrap())
    };
    let report = using(RollingRestart::new(app), "/views").run().await;
    assert!(report.lost_sessions >= 30 && report.re_logins >= 30, "{report}");
    assert!(
        complaint(|| report.assert_none_lost()).contains("Sessions or keys live in the memory of one node")
    );
}

#[tokio::test]
async fn a_store_of_each_node_is_found_and_named() {
    let local = |_| on(MemoryStore::new(), ring());
    let report = using(RollingRestart::new(local), "/views").run().await;
    assert!(report.lost_sessions > 0 && report.re_logins > 0, "{report}");
    assert!(report.failures.iter().any(|failure| failure.kind == FailureKind::LostSession
        && failure.status == Some(StatusCode::UNAUTHORIZED)
        && failure.request == "GET /views"));
    let text = complaint(|| report.assert_none_lost());
    assert!(text.contains("likely cause: node-local state"), "{text}");
    assert!(text.contains("still had what another node missed") && text.contains("MemoryStore"), "{text}");
    let first =
        text.lines().find(|line| line.starts_with("  LostSession: user ")).expect("the first failures");
    for part in [", node ", ", generation ", "GET /views, status 401", "signed in by node "] {
        assert!(first.contains(part), "{part:?} is not in {first:?}");
    }
    // One node alone keeps its sessions until it is restarted.
    let report = using(RollingRestart::new(local), "/views").nodes(1).run().await;
    assert_eq!((report.lost_sessions, report.re_logins), (30, 30), "{report}");
    let text = complaint(|| report.assert_none_lost());
    assert!(text.contains("node-local state") && text.contains("after a restart of the node"), "{text}");
}

#[tokio::test]
async fn a_store_of_each_node_is_found_where_guests_are_served() {
    // Nobody is refused: each node shows what it has.
    let report = using(RollingRestart::new(|_| on(MemoryStore::new(), ring())), "/guest").run().await;
    assert!(report.lost_updates > 0 && report.lost_sessions == 0, "{report}");
    assert!(complaint(|| report.assert_none_lost()).contains("node-local state"));
}

#[tokio::test]
async fn lost_updates_are_found() {
    let store = MemoryStore::new();
    let app = move |_| on(store.clone(), ring());
    let report = using(RollingRestart::new(app), "/total").run().await;
    assert!(report.lost_updates > 0, "{report}");
    assert_eq!((report.lost_sessions, report.re_logins, report.extra_updates), (0, 0, 0), "{report}");
    let text = complaint(|| report.assert_none_lost());
    assert!(text.contains("read, change and write back") && !text.contains("node-local"), "{text}");
    assert!(text.contains("LostUpdate: user "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_writes_by_counters_are_not_suspected() {
    let store = MemoryStore::new();
    let app = move |_| on(store.clone(), ring());
    let report = using(RollingRestart::new(app), "/views").parallel_writes(8).rollouts(3).run().await;
    report.assert_none_failed();
    assert_eq!((report.restarts, report.lost_updates, report.extra_updates), (9, 0, 0));
}

#[tokio::test]
async fn a_write_that_is_applied_twice_is_found() {
    let store = MemoryStore::new();
    let app = move |_| {
        let sessions = with(Sessions::builder(store.clone(), ring()));
        let twice = Router::new().route("/twice", post(async |session: Session| session.incr(VIEWS, 2)));
        shop(&sessions).merge(twice.layer(sessions.layer()))
    };
    let report =
        using(RollingRestart::new(app), "/views").write(|visitor| visitor.post("/twice")).run().await;
    assert_eq!(report.lost_updates, 0, "{report}");
    assert!(report.extra_updates > 0, "{report}");
    assert!(complaint(|| report.assert_none_lost()).contains("more than were ever written"));
}

#[tokio::test]
async fn an_application_that_refuses_everybody_does_not_pass() {
    let store = MemoryStore::new();
    let app = move |_| on(store.clone(), ring());
    let report =
        using(RollingRestart::new(app), "/views").sign_in(|visitor| visitor.get("/nowhere")).run().await;
    assert_eq!(
        (report.lost_sessions, report.unconfirmed_users, report.cut_short),
        (0, 30, false),
        "{report}"
    );
    assert!(complaint(|| report.assert_none_lost()).contains("30 of 30 users made no write"));
    // A sign-in that is answered well and gives no session.
    let store = MemoryStore::new();
    let app = move |_| on(store.clone(), ring());
    let report =
        using(RollingRestart::new(app), "/views").sign_in(|visitor| visitor.get("/guest")).run().await;
    assert!(report.lost_sessions > 0, "{report}");
    let text = complaint(|| report.assert_none_lost());
    assert!(text.contains("the sign-in does not last") && !text.contains("node-local"), "{text}");
}

#[tokio::test]
async fn errors_and_panics_of_a_new_generation_are_reported() {
    let store = MemoryStore::new();
    let calls = Arc::new(AtomicU64::new(0));
    let app = move |node: Node| {
        let calls = calls.clone();
        // Fails before the session is touched, each third time, every other time by a panic.
        let fails = move |request: Request, next: Next| {
            let due = node.generation == 1 && request.method() == "POST" && request.uri() == "/views";
            let turn = due.then(|| calls.fetch_add(1, SeqCst) % 6);
            async move {
                match turn {
                    Some(0) => Err(StatusCode::INTERNAL_SERVER_ERROR),
                    Some(3) => panic!("generation 1 panics"),
                    _ => Ok(next.run(request).await),
                }
            }
        };
        on(store.clone(), ring()).layer(from_fn(fails))
    };
    let report = using(RollingRestart::new(app), "/views").parallel_writes(1).run().await;
    assert!(report.server_errors > 0 && report.lost_updates + report.lost_sessions == 0, "{report}");
    let of = |status| report.failures.iter().any(|failure| failure.status == status);
    assert!(of(None) && of(Some(StatusCode::INTERNAL_SERVER_ERROR)), "{report}");
    assert!(report.failures.iter().all(|failure| failure.node.generation == 1), "{report}");
    assert!(complaint(|| report.assert_none_failed()).contains("generation 1, POST /views, status 500"));
}

#[tokio::test]
async fn an_application_that_hangs_ends_in_time() {
    let hangs = |_| Router::new().fallback(async || std::future::pending::<()>().await);
    let report: Report =
        using(RollingRestart::new(hangs), "/views").within(Duration::from_millis(100)).run().await;
    assert!(report.cut_short && report.elapsed < Duration::from_secs(5), "{report}");
    assert!(complaint(|| report.assert_none_lost()).contains("the time was over"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_and_dropped_before_the_next_generation() {
    /// Lives as long as one node does.
    struct Alive(Node, Arc<Mutex<Vec<(&'static str, Node)>>>, AtomicUsize);
    impl Drop for Alive {
        fn drop(&mut self) {
            assert_eq!(self.2.load(SeqCst), 0, "{} was dropped with requests in flight", self.0);
            self.1.lock().unwrap().push(("dropped", self.0));
        }
    }
    let log: Arc<Mutex<Vec<(&'static str, Node)>>> = Arc::default();
    let (store, events) = (MemoryStore::new(), log.clone());
    let app = move |node: Node| {
        events.lock().unwrap().push(("made", node));
        let alive = Arc::new(Alive(node, events.clone(), AtomicUsize::new(0)));
        let watch = move |request: Request, next: Next| {
            let alive = alive.clone();
            async move {
                alive.2.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
                let response = next.run(request).await;
                alive.2.fetch_sub(1, SeqCst);
                response
            }
        };
        on(store.clone(), ring()).layer(from_fn(watch))
    };
    using(RollingRestart::new(app), "/views").rollouts(2).run().await.assert_none_failed();
    let log = log.lock().unwrap();
    for index in 0..3 {
        let of = log.iter().filter(|(_, node)| node.index == index);
        let seen: Vec<_> = of.map(|(what, node)| (*what, node.generation)).take(5).collect();
        let expected = [("made", 0), ("dropped", 0), ("made", 1), ("dropped", 1), ("made", 2)];
        assert_eq!(seen, expected, "node {index}");
    }
    // No two nodes are away at once.
    let away = log.windows(2).filter(|pair| pair[0].0 == "dropped" && pair[1].0 == "made");
    assert!(away.clone().all(|pair| pair[0].1.index == pair[1].1.index) && away.count() >= 6);
}

/// In which order the nodes were restarted.
async fn order(seed: u64) -> Vec<Node> {
    let made: Arc<Mutex<Vec<Node>>> = Arc::default();
    let (store, log) = (MemoryStore::new(), made.clone());
    let app = move |node: Node| {
        log.lock().unwrap().push(node);
        on(store.clone(), ring())
    };
    let report = using(RollingRestart::new(app), "/views").users(2).nodes(5).seed(seed).run().await;
    report.assert_none_failed();
    assert_eq!(report.seed, seed);
    let made = made.lock().unwrap();
    made.iter().copied().filter(|node| node.generation == 1).collect()
}

#[tokio::test]
async fn the_seed_fixes_the_order_of_restarts() {
    let first = order(1).await;
    assert_eq!(order(1).await, first);
    // The same for twelve other seeds would be one chance in 120^12.
    let mut others = Vec::new();
    for seed in 2..14 {
        others.push(order(seed).await);
    }
    assert!(others.iter().any(|order| *order != first));
}

#[tokio::test]
async fn a_run_that_is_dropped_lets_everything_go() {
    let alive = Arc::new(());
    let held = Arc::downgrade(&alive);
    let store = MemoryStore::new();
    let app = move |_| {
        let alive = alive.clone();
        on(store.clone(), ring()).route("/alive", get(async move || drop(alive.clone())))
    };
    let run = using(RollingRestart::new(app), "/views").rollouts(100_000).within(LONG * 10).run();
    tokio::select! {
        report = run => panic!("it has ended: {report}"),
        () = wait_until("the nodes are made", LONG, async || held.strong_count() > 3) => {}
    }
    wait_until("the users and the nodes are gone", LONG, async || held.strong_count() == 0).await;
}

#[tokio::test]
async fn what_cannot_be_run_is_said_at_once() {
    let app = |_| on(MemoryStore::new(), ring());
    let untold = RollingRestart::new(app).sign_in(|visitor| visitor.post("/sign-in")).run();
    let panic = AssertUnwindSafe(untold).catch_unwind().await.expect_err("there is no write");
    assert_eq!(*panic.downcast::<String>().unwrap(), "the rolling restart was not told how to write");
    let broken = using(RollingRestart::new(app), "/views").sign_in(|visitor| visitor.get("no path")).run();
    let panic = AssertUnwindSafe(broken).catch_unwind().await.expect_err("a closure panics");
    assert!(panic.downcast::<String>().unwrap().contains("the path \"no path\" of a request is no URI"));
    assert!(catch_unwind(|| drop(RollingRestart::new(app).users(0))).is_err());
}
