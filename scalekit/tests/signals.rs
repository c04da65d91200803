//! Every crate reports what it does, each operation once, however it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body, extract::State, routing::post};
use http::{Request, StatusCode, header};
use scalekit::{
    Error, ErrorKind, Hop, KeyRing, Observer, Principal, Signals, Stack, Workers,
    db::{self, FileLock, Sqlite, SqliteSource, Tx},
    idempotency::Idempotency,
    outbox::{self, Consumer, Delivered, Event, Handler, MemorySink, Outbox, Outcome, Relay},
    session::{Cookie, Counter, MemoryStore, Session, Sessions},
};
use scalekit_testkit::wait_until;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use tower::ServiceExt;

const SOON: Duration = Duration::from_secs(20);
const VISITS: Counter = Counter::new("visits");

/// Counts what it is told, by operation and outcome.
#[derive(Default)]
struct Heard {
    ended: Mutex<BTreeMap<(Hop, &'static str, &'static str), u64>>,
    behind: Mutex<Vec<(&'static str, String, u64)>>,
}

impl Observer for Heard {
    fn ended(&self, hop: Hop, operation: &'static str, outcome: &'static str, took: Duration) {
        assert!(took < SOON);
        *self.ended.lock().unwrap().entry((hop, operation, outcome)).or_default() += 1;
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
    Outbox::new().append(&mut *tx, Event::new("order.placed", "a", &1)?).await?;
    session.incr(VISITS, 1)?;
    Ok(*answer.lock().unwrap())
}

/// Fails once, then succeeds.
#[derive(Default)]
struct Moody(Mutex<bool>);

#[async_trait]
impl Handler for Moody {
    async fn handle(&self, _: &Delivered) -> scalekit::Result<Outcome> {
        let failed_before = std::mem::replace(&mut *self.0.lock().unwrap(), true);
        if failed_before { Ok(Outcome::Done) } else { Err(Error::new(ErrorKind::Unavailable, "not yet")) }
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

#[tokio::test]
async fn each_crate_reports_its_operations_by_their_outcome() {
    let heard = Arc::new(Heard::default());
    let signals = Signals::to(heard.clone());
    let folder = Folder::new();
    let file = SqliteConnectOptions::new().filename(folder.0.join("shop.db")).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(file).await.unwrap();
    db::migrate(&pool, &[db::MIGRATIONS, outbox::MIGRATIONS]).await.unwrap();
    let source = SqliteSource::new(pool, FileLock::default()).with_signals(signals.clone());
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
    let relay = Relay::new("main", Arc::new(source), sink.clone()).unwrap().with_signals(signals.clone());
    let consumer = Consumer::of_memory(sink, Arc::new(Moody::default())).with_signals(signals);
    let mut workers = Workers::default();
    workers.spawn(Arc::new(relay));
    workers.spawn(Arc::new(consumer));
    wait_until("the event is handled", SOON, async || heard.count(Hop::Queue, "outbox_handle", "done") == 1)
        .await;
    assert_eq!(heard.count(Hop::Queue, "outbox_handle", "error"), 1);
    wait_until("the batch is sent", SOON, async || heard.count(Hop::Queue, "outbox_publish", "ok") == 1)
        .await;
    wait_until("what waits is reported", SOON, async || !heard.behind.lock().unwrap().is_empty()).await;
    assert!(workers.drain(SOON).await);
    let behind = heard.behind.lock().unwrap();
    assert!(
        behind.iter().all(|(queue, of, items)| (*queue, of.as_str()) == ("outbox", "main") && *items <= 1),
        "{behind:?}"
    );
}
