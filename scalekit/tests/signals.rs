//! Every crate reports what it does, each operation once, however it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    routing::post,
};
use futures_util::{FutureExt, StreamExt, stream};
use http::{Request, StatusCode, header};
use scalekit::{
    Error, ErrorKind, Hop, KeyRing, Observer, Principal, Signals, Stack, Workers,
    db::{self, FileLock, Sqlite, SqliteSource, Tx},
    idempotency::Idempotency,
    outbox::{
        self, Consumer, Delivered, Event, Handler, Lane, MemorySink, Outbox, Outcome, Record, Relay, Sink,
        SinkError,
    },
    redis::Redis,
    session::{Cookie, Counter, MemoryStore, RedisStore, Session, Sessions},
};
use scalekit_testkit::wait_until;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tokio::sync::Notify;
use tower::ServiceExt;

const SOON: Duration = Duration::from_secs(20);
const VISITS: Counter = Counter::new("visits");

/// Counts what it is told, by operation and outcome.
#[derive(Default)]
struct Heard {
    ended: Mutex<BTreeMap<(Hop, &'static str, &'static str), u64>>,
    expected: Mutex<Vec<(&'static str, String)>>,
    behind: Mutex<Vec<(&'static str, String, u64)>>,
}

impl Observer for Heard {
    fn ended(&self, hop: Hop, operation: &'static str, outcome: &'static str, took: Duration) {
        assert!(took < SOON);
        *self.ended.lock().unwrap().entry((hop, operation, outcome)).or_default() += 1;
    }

    fn expects(&self, queue: &'static str, of: &str) {
        self.expected.lock().unwrap().push((queue, of.to_owned()));
    }

    fn behind(&self, queue: &'static str, of: &str, items: u64, seconds: f64) {
        assert!(seconds >= 0.0);
        self.behind.lock().unwrap().push((queue, of.to_owned(), items));
    }
}

impl Heard {
    fn count(&self, hop: Hop, operation: &'static str, outcome: &'static str) -> u64 {
        self.ended.lock().unwrap().get(&(hop, operation, outcome)).copied().unwrap_or_default()
    }
}

async fn sign_in(session: Session) -> Result<StatusCode, Error> {
    session.sign_in(&Principal::user("ada").tenant("acme"), "test").await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn place(
    State(answer): State<Arc<Mutex<StatusCode>>>,
    session: Session,
    mut tx: Tx<Sqlite>,
) -> Result<StatusCode, Error> {
    for (kind, key) in [("order.placed", "a"), ("order.odd", "b")] {
        Outbox::new().append(&mut *tx, Event::new(kind, key, &1)?).await?;
    }
    session.incr(VISITS, 1)?;
    Ok(*answer.lock().unwrap())
}

/// Fails once; then parks what it is told to park, and does the rest.
#[derive(Default)]
struct Moody(Mutex<bool>);

#[async_trait]
impl Handler for Moody {
    async fn handle(&self, event: &Delivered) -> scalekit::Result<Outcome> {
        if !std::mem::replace(&mut *self.0.lock().unwrap(), true) {
            return Err(Error::new(ErrorKind::Unavailable, "not yet"));
        }
        match event.kind() {
            "order.odd" => Ok(Outcome::Park { reason: "odd".into(), retry: false }),
            _ => Ok(Outcome::Done),
        }
    }
}

/// Takes nothing at first, nor until it is heard that something waits.
struct Waiting {
    sink: Arc<MemorySink>,
    heard: Arc<Heard>,
    was_asked: AtomicBool,
}

#[async_trait]
impl Sink for Waiting {
    async fn publish(&self, lane: &Lane, batch: &[Record]) -> Result<(), SinkError> {
        let is_first = !self.was_asked.swap(true, Ordering::SeqCst);
        if is_first || self.heard.behind.lock().unwrap().is_empty() {
            return Err(SinkError::Unavailable(Error::new(ErrorKind::Unavailable, "not yet")));
        }
        self.sink.publish(lane, batch).await
    }
}

/// A directory that goes with its owner.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("scalekit-signals-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

async fn database(folder: &Folder, signals: &Signals) -> SqliteSource {
    let file = SqliteConnectOptions::new().filename(folder.0.join("shop.db")).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(file).await.unwrap();
    db::migrate(&pool, &[db::MIGRATIONS, outbox::MIGRATIONS]).await.unwrap();
    SqliteSource::new(pool, FileLock::default()).with_signals(signals.clone())
}

#[tokio::test]
async fn each_crate_reports_its_operations_by_their_outcome() {
    let heard = Arc::new(Heard::default());
    let signals = Signals::to(heard.clone());
    let folder = Folder::new();
    let source = database(&folder, &signals).await;
    let keys =
        Idempotency::builder(source.clone()).by_principal().with_signals(signals.clone()).build().unwrap();
    let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate().unwrap())
        .cookie(Cookie::dev("id"))
        .signals(signals.clone())
        .build()
        .unwrap();
    let answer = Arc::new(Mutex::new(StatusCode::CREATED));
    let public = Router::new().route("/session", post(sign_in));
    let keyed = Router::new().route("/orders", post(place)).with_state(answer.clone());
    let stack = Stack::new().sessions(&sessions).idempotency(&keys);
    let app = stack.public(public).keyed(keyed).into_router().unwrap();

    let send = async |path: &str, cookie: &str, key: Option<&str>, body: &'static str| {
        let mut request = Request::post(path).header(header::COOKIE, cookie);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        app.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    };
    let signed_in = send("/session", "", None, "").await;
    assert_eq!(signed_in.status(), 204);
    let cookie =
        signed_in.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    for (key, body, status, ended) in [
        (Some("a"), "1", 201, "executed"),
        (Some("a"), "1", 201, "replayed"),
        (Some("a"), "2", 422, "mismatched"),
        (Some("b"), "1", 402, "rolled_back"),
        (None, "1", 400, "refused"),
    ] {
        *answer.lock().unwrap() =
            if status == 402 { StatusCode::PAYMENT_REQUIRED } else { StatusCode::CREATED };
        assert_eq!(send("/orders", &cookie, key, body).await.status(), status, "{ended}");
        assert_eq!(heard.count(Hop::Service, "idempotency", ended), 1, "{ended}");
    }
    // An order's change is applied after its commit, and looked at again by its replay.
    assert_eq!(heard.count(Hop::Cache, "session_commit", "ok"), 3, "the sign-in, the order, its replay");
    assert_eq!(heard.count(Hop::Cache, "session_load", "ok"), 5, "the principal of each order's request");
    let acquired = heard.count(Hop::Db, "acquire", "ok");
    assert_eq!(heard.count(Hop::Db, "transaction", "committed"), 1);
    assert_eq!(heard.count(Hop::Db, "transaction", "rolled_back"), acquired - 1);

    let sink = Arc::new(MemorySink::new(16));
    let waiting = Waiting { sink: sink.clone(), heard: heard.clone(), was_asked: AtomicBool::new(false) };
    let relay =
        Relay::new("main", Arc::new(source), Arc::new(waiting)).unwrap().with_signals(signals.clone());
    let consumer = Consumer::of_memory(sink, Arc::new(Moody::default())).with_signals(signals);
    let mut workers = Workers::default();
    workers.spawn(Arc::new(relay));
    workers.spawn(Arc::new(consumer));
    let handled = async |outcome| heard.count(Hop::Queue, "outbox_handle", outcome) == 1;
    wait_until("one event is done", SOON, async || handled("done").await).await;
    wait_until("the other is parked", SOON, async || handled("parked").await).await;
    assert!(handled("error").await);
    assert!(workers.drain(SOON).await);
    assert!(heard.count(Hop::Queue, "outbox_publish", "error") >= 1);
    assert!(heard.count(Hop::Queue, "outbox_publish", "ok") >= 1);
    assert_eq!(*heard.expected.lock().unwrap(), [("outbox", "main".to_owned())]);
    // Looked at for the first time when nothing had been taken.
    assert_eq!(heard.behind.lock().unwrap()[0], ("outbox", "main".to_owned(), 2));
}

/// What the handler of the second test does.
#[derive(Default)]
struct Held {
    came: Notify,
    go: Notify,
}

async fn hold(State(held): State<Arc<Held>>, _tx: Tx<Sqlite>, how: String) -> StatusCode {
    assert_ne!(how, "panic", "as it was asked to");
    held.came.notify_one();
    held.go.notified().await;
    StatusCode::CREATED
}

#[tokio::test]
async fn what_fails_is_refused_or_is_given_up_is_told_apart() {
    let heard = Arc::new(Heard::default());
    let signals = Signals::to(heard.clone());
    let folder = Folder::new();
    let keys = Idempotency::builder(database(&folder, &signals).await)
        .danger_one_scope(Principal::guest("visitor"))
        .with_signals(signals.clone())
        .with_wait(Duration::from_millis(50))
        .build()
        .unwrap();
    let held = Arc::new(Held::default());
    let app = Router::new().route("/", post(hold)).with_state(held.clone()).layer(keys.layer());
    let send = |key: &str, body: Body| {
        app.clone().oneshot(Request::post("/").header("idempotency-key", key).body(body).unwrap())
    };
    let ended = |outcome| heard.count(Hop::Service, "idempotency", outcome);

    assert_eq!(send("panic", "panic".into()).await.unwrap().status(), 500);
    assert_eq!((ended("failed"), keys.counters().failed), (1, 1));

    let first = tokio::spawn(send("slow", "".into()));
    held.came.notified().await;
    assert_eq!(send("slow", "".into()).await.unwrap().status(), 409);
    assert_eq!((ended("in_flight"), keys.counters().in_flight, ended("executed")), (1, 1, 0));
    held.go.notify_one();
    assert_eq!(first.await.unwrap().unwrap().status(), 201);
    assert_eq!(ended("executed"), 1);

    // A client that leaves before its body has come.
    let endless = stream::once(async { Ok::<_, std::io::Error>(Bytes::from("1")) }).chain(stream::pending());
    assert!(send("left", Body::from_stream(endless)).now_or_never().is_none());
    assert_eq!(ended("cancelled"), 1);

    // One that leaves after its key was claimed cancels nothing.
    let gone = tokio::spawn(send("gone", "".into()));
    held.came.notified().await;
    gone.abort();
    held.go.notify_one();
    wait_until("it ends all the same", SOON, async || ended("executed") == 2).await;
    assert_eq!(ended("cancelled"), 1);

    // Nobody listens there.
    let away = RedisStore::new(Redis::open("redis://127.0.0.1:1").unwrap());
    let sessions =
        Sessions::builder(away, KeyRing::generate().unwrap()).cookie(Cookie::dev("id")).signals(signals);
    let sessions = sessions.build().unwrap();
    let app = Router::new().route("/", post(sign_in)).layer(sessions.layer());
    assert_eq!(app.oneshot(Request::post("/").body(Body::empty()).unwrap()).await.unwrap().status(), 503);
    assert_eq!(heard.count(Hop::Cache, "session_commit", "error"), 1);
}
