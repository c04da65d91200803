//! What the outbox tests share: a database of either kind, and a sink that remembers.
#![allow(dead_code, unused_macros, unused_imports, reason = "each test binary uses its part")]

pub(crate) mod handler;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use scalekit_core::{
    Error, ErrorKind, Principal, Worker, Workers,
    db::{self, FileLock, PoolSource, Postgres, Sqlite, SqliteSource, Tx, TxSource},
};
use scalekit_outbox::{Event, Lane, Outbox, OutboxDb, Poisoned, Record, Relay, Sink, SinkError};
use sqlx::{PgPool, SqlitePool, sqlite::SqliteConnectOptions};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A database with the outbox's tables.
pub(crate) struct Site<D: OutboxDb> {
    pub(crate) source: Arc<dyn TxSource<D>>,
    pub(crate) pool: sqlx::Pool<D>,
    pub(crate) outbox: Outbox,
    _keep: Vec<Box<dyn std::any::Any + Send + Sync>>,
}

/// A kind of database that tests run on.
pub(crate) trait Kind: OutboxDb + Sized {
    fn site() -> impl Future<Output = Site<Self>> + Send;
    fn count_events(tx: &mut Tx<Self>) -> impl Future<Output = i64> + Send;
}

impl Kind for Postgres {
    async fn site() -> Site<Self> {
        let (pool, database) = postgres(10).await;
        let source = PoolSource::new(pool.clone()).with_acquire_timeout(SOON);
        Site { source: Arc::new(source), pool, outbox: Outbox::new(), _keep: vec![Box::new(database)] }
    }

    async fn count_events(tx: &mut Tx<Self>) -> i64 {
        sqlx::query_scalar("select count(*) from scalekit.event").fetch_one(&mut **tx).await.unwrap()
    }
}

pub(crate) async fn postgres(connections: u32) -> (PgPool, scalekit_testkit::Database) {
    let database = scalekit_testkit::Postgres::shared().await.database().await;
    let pool = database.pool(connections).await;
    db::migrate(&pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
    (pool, database)
}

impl Kind for Sqlite {
    async fn site() -> Site<Self> {
        let dir = Directory(std::env::temp_dir().join(format!("scalekit-outbox-{}", uuid::Uuid::now_v7())));
        std::fs::create_dir(&dir.0).unwrap();
        let options = SqliteConnectOptions::new()
            .filename(dir.0.join("outbox.db"))
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        db::migrate(&pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
        let source = SqliteSource::new(pool.clone(), FileLock::default());
        Site { source: Arc::new(source), pool, outbox: Outbox::new(), _keep: vec![Box::new(dir)] }
    }

    async fn count_events(tx: &mut Tx<Self>) -> i64 {
        sqlx::query_scalar("select count(*) from scalekit_event").fetch_one(&mut **tx).await.unwrap()
    }
}

/// A directory that is removed with its owner.
struct Directory(std::path::PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

impl<D: Kind> Site<D> {
    pub(crate) async fn begin(&self) -> Tx<D> {
        self.source.begin(&Principal::user("ada")).await.unwrap()
    }

    /// Appends events of one key in a transaction of their own; their numbers become the payload.
    pub(crate) async fn append(&self, key: &str, numbers: impl IntoIterator<Item = u64>) {
        let mut tx = self.begin().await;
        let events: Vec<Event> = numbers.into_iter().map(|number| numbered(key, number)).collect();
        self.outbox.append(&mut *tx, &events).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// A relay with the shortest lease.
    pub(crate) fn relay(&self, sink: Arc<dyn Sink>) -> Relay<D> {
        self.relay_on(Arc::clone(&self.source), sink)
    }

    pub(crate) fn relay_on(&self, source: Arc<dyn TxSource<D>>, sink: Arc<dyn Sink>) -> Relay<D> {
        let relay = Relay::new("east", source, sink).unwrap();
        relay.with_outbox(&self.outbox).with_lease(Duration::from_secs(1))
    }

    pub(crate) fn run(&self, sink: Arc<dyn Sink>) -> (Arc<Relay<D>>, Workers) {
        let relay = Arc::new(self.relay(sink));
        let mut workers = Workers::default();
        workers.spawn(Arc::clone(&relay) as Arc<dyn Worker>);
        (relay, workers)
    }
}

pub(crate) fn numbered(key: &str, number: u64) -> Event {
    Event::new("test.numbered", key, &number).unwrap()
}

pub(crate) fn number(record: &Record) -> u64 {
    serde_json::from_slice(&record.data).unwrap_or(u64::MAX)
}

/// A sink that remembers what it took, and refuses what it is told to.
#[derive(Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    changed: Notify,
    /// While set, each publish waits for a permit before it takes the batch.
    door: Mutex<Option<Arc<Semaphore>>>,
}

#[derive(Default)]
struct State {
    taken: Vec<(Lane, Record)>,
    down: bool,
    poison: HashSet<(String, u64)>,
    retry: bool,
    at_door: usize,
}

impl Ledger {
    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    pub(crate) fn poison(&self, key: &str, number: u64, retry: bool) {
        let mut state = self.state.lock().unwrap();
        state.poison.insert((key.to_owned(), number));
        state.retry = retry;
    }

    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().poison.clear();
    }

    /// Makes publishes wait; returns what lets them through.
    pub(crate) fn shut(&self) -> Arc<Semaphore> {
        let door = Arc::new(Semaphore::new(0));
        *self.door.lock().unwrap() = Some(Arc::clone(&door));
        door
    }

    pub(crate) fn open(&self) {
        *self.door.lock().unwrap() = None;
    }

    pub(crate) fn taken(&self) -> Vec<(Lane, Record)> {
        self.state.lock().unwrap().taken.clone()
    }

    /// The numbers of each key in the order in which they came, repetitions included.
    pub(crate) fn numbers(&self) -> BTreeMap<String, Vec<u64>> {
        let mut out = BTreeMap::<_, Vec<u64>>::new();
        for (_, record) in &self.state.lock().unwrap().taken {
            out.entry(record.key.clone()).or_default().push(number(record));
        }
        out
    }

    pub(crate) fn of(&self, key: &str) -> Vec<u64> {
        self.numbers().remove(key).unwrap_or_default()
    }

    pub(crate) async fn until(&self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let waited = tokio::time::timeout(SOON, async {
            loop {
                let changed = self.changed.notified();
                if enough(self) {
                    return;
                }
                changed.await;
            }
        });
        assert!(waited.await.is_ok(), "waited in vain until {what}; taken: {:?}", self.numbers());
    }

    pub(crate) async fn until_at_door(&self, publishes: usize) {
        self.until("publishes wait", |ledger| ledger.state.lock().unwrap().at_door >= publishes).await;
    }
}

#[async_trait]
impl Sink for Ledger {
    async fn publish(&self, lane: &Lane, batch: &[Record]) -> Result<(), SinkError> {
        let door = self.door.lock().unwrap().clone();
        if let Some(door) = door {
            self.state.lock().unwrap().at_door += 1;
            self.changed.notify_waiters();
            door.acquire().await.unwrap().forget();
        }
        let mut state = self.state.lock().unwrap();
        if state.down {
            return Err(SinkError::Unavailable(Error::new(ErrorKind::Unavailable, "down as asked")));
        }
        let (mut poisoned, mut keys) = (Vec::new(), HashSet::new());
        for (index, record) in batch.iter().enumerate() {
            if keys.contains(&record.key) {
                continue;
            }
            if state.poison.contains(&(record.key.clone(), number(record))) {
                keys.insert(record.key.clone());
                poisoned.push(Poisoned { index, reason: "as asked".into(), retry: state.retry });
                continue;
            }
            state.taken.push((lane.clone(), record.clone()));
        }
        drop(state);
        self.changed.notify_waiters();
        if poisoned.is_empty() { Ok(()) } else { Err(SinkError::Poison(poisoned)) }
    }
}

/// A worker in a task of its own, which can be killed wherever it is.
pub(crate) struct Mortal(tokio::task::JoinHandle<()>);

impl Mortal {
    pub(crate) fn run(worker: Arc<dyn Worker>) -> Self {
        Self(tokio::spawn(async move { worker.run(CancellationToken::new()).await }))
    }

    pub(crate) async fn kill(self) {
        self.0.abort();
        let _cancelled = self.0.await;
    }
}

/// A source that can be held up: a relay on it stands still between two transactions.
pub(crate) struct Halter<D: OutboxDb> {
    source: Arc<dyn TxSource<D>>,
    halted: tokio::sync::watch::Sender<bool>,
    begun: tokio::sync::watch::Sender<(u64, u64)>,
}

impl<D: Kind> Halter<D> {
    pub(crate) fn on(site: &Site<D>) -> Arc<Self> {
        let (halted, begun) =
            (tokio::sync::watch::Sender::new(false), tokio::sync::watch::Sender::new((0, 0)));
        Arc::new(Self { source: Arc::clone(&site.source), halted, begun })
    }

    /// Holds up what begins from now on.
    pub(crate) fn halt(&self) {
        self.halted.send_replace(true);
    }

    pub(crate) async fn until_held_up(&self) {
        self.until(|(asked, begun)| asked > begun).await;
    }

    /// Lets go of it, and waits until it has gone on for some transactions.
    pub(crate) async fn resume(&self) {
        let (_, before) = *self.begun.borrow();
        self.halted.send_replace(false);
        self.until(|(_, begun)| begun > before + 3).await;
    }

    async fn until(&self, reached: impl Fn((u64, u64)) -> bool) {
        let mut seen = self.begun.subscribe();
        let waited = tokio::time::timeout(SOON, seen.wait_for(|counts| reached(*counts))).await;
        waited.expect("the relay does not come that far").unwrap();
    }
}

#[async_trait]
impl<D: Kind> TxSource<D> for Halter<D> {
    async fn begin(&self, principal: &Principal) -> scalekit_core::Result<Tx<D>> {
        self.begun.send_modify(|(asked, _)| *asked += 1);
        self.halted.subscribe().wait_for(|halted| !halted).await.unwrap();
        self.begun.send_modify(|(_, begun)| *begun += 1);
        self.source.begin(principal).await
    }
}

/// Defines a test for each kind of database.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name::<scalekit_core::db::Postgres>().await })*
        }
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { super::$name::<scalekit_core::db::Sqlite>().await })*
        }
    };
}
pub(crate) use on_both;

/// Rows of the table of events.
pub(crate) async fn count_events<D: Kind>(tx: &mut Tx<D>) -> i64 {
    D::count_events(tx).await
}
