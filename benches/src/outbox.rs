//! What an event costs the transaction that appends it, and how fast events leave.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use scalekit::{
    Worker,
    db::{self, PoolSource},
    outbox::{self, Event, Lane, Outbox, Record, Relay, Sink, SinkError},
};
use scalekit_testkit::{Database, Postgres, PostgresServer};
use sqlx::{Executor, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::duel::{Case, Duel, Meter, block_on, table};

const CLIENTS: u32 = 8;
const PAYLOAD: [u8; 300] = [b'x'; 300];

/// What a transaction does beside its own INSERT of a row.
#[derive(Clone, Debug)]
enum Extra {
    Nothing,
    /// So many rows of the event's size into a table without an index, in one statement.
    Rows(i32),
    /// So many events.
    Events(usize),
}

/// All of it.
pub fn run() {
    append(true);
    append(false);
    drain();
}

/// Compares the rate of transactions that append 0, 1 and 10 events.
fn append(fsync: bool) {
    block_on(async {
        let (_server, database) = database(fsync).await;
        let pool = database.pool(CLIENTS).await;
        let title = if fsync {
            "Appending events of 300 bytes to a transaction that inserts a row: transactions per second, 8 clients"
        } else {
            "The same on a server without fsync"
        };
        let cases = [
            ("INSERT of the row alone", Extra::Nothing),
            ("scalekit: 0 events", Extra::Events(0)),
            ("scalekit: 1 event", Extra::Events(1)),
            ("1 row of that size into a table without an index", Extra::Rows(1)),
            ("scalekit: 10 events", Extra::Events(10)),
            ("10 rows of that size, one statement", Extra::Rows(10)),
        ];
        let cases = cases.map(|(name, extra)| case(name, pool.clone(), extra));
        Duel { title, unit: "transaction", meter: Meter::Wall, rounds: 60, per_round: 80 }
            .run(cases.into())
            .await;
    });
}

/// Measures how fast a backlog leaves to a sink that takes everything, beside a plain read of the same rows.
fn drain() {
    const BACKLOG: usize = 20_000;
    const ROUNDS: usize = 3;
    block_on(async {
        let (_server, database) = database(true).await;
        let pool = database.pool(CLIENTS).await;
        let (mut read, mut drained) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            fill(&pool, BACKLOG).await;
            let start = Instant::now();
            let rows = sqlx::query("select * from scalekit.event order by seq desc limit $1");
            let rows = rows.bind(i64::try_from(BACKLOG).unwrap()).fetch_all(&pool).await.unwrap();
            read = read.min(start.elapsed());
            assert_eq!(rows.len(), BACKLOG);
            drained = drained.min(relay(&pool, BACKLOG).await);
        }
        let rate = |took: Duration| BACKLOG as f64 / took.as_secs_f64();
        let row = |name: &str, took: Duration| {
            vec![name.to_owned(), format!("{:.0}", rate(took)), format!("**{:.2}**", rate(took) / rate(read))]
        };
        let rows = [
            row("SELECT of the same rows, by one client", read),
            row("scalekit: one relay, to a sink that takes all", drained),
        ];
        let title = "A backlog of 20,000 events leaves: start of the relay to its last event, best of 3";
        table(title, &["", "events per second", "rate, first row = 1"], &rows);
    });
}

async fn database(fsync: bool) -> (PostgresServer, Database) {
    let server = Postgres::builder().fsync(fsync).start().await;
    let database = server.database().await;
    let pool = database.pool(1).await;
    db::migrate(&pool, &[db::MIGRATIONS, outbox::MIGRATIONS]).await.unwrap();
    pool.execute(
        "create table purchase (id bigint generated always as identity primary key, data bytea not null)",
    )
    .await
    .unwrap();
    pool.execute("create table plain (key text not null, data bytea not null)").await.unwrap();
    (server, database)
}

fn case(name: &str, pool: PgPool, extra: Extra) -> Case {
    Case::new(name, move |n| {
        let outbox = Outbox::new();
        let tasks: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (pool, extra, outbox) = (pool.clone(), extra.clone(), outbox.clone());
                let own = n / CLIENTS + u32::from(client < n % CLIENTS);
                tokio::spawn(async move {
                    for _ in 0..own {
                        transaction(&pool, &outbox, &extra).await;
                    }
                })
            })
            .collect();
        async move {
            for task in tasks {
                task.await.unwrap();
            }
        }
    })
}

async fn transaction(pool: &PgPool, outbox: &Outbox, extra: &Extra) {
    let mut tx = pool.begin().await.unwrap();
    let insert = sqlx::query("insert into purchase (data) values ($1)").bind(PAYLOAD.as_slice());
    insert.execute(&mut *tx).await.unwrap();
    match extra {
        Extra::Nothing => {}
        Extra::Rows(count) => {
            let insert = "insert into plain select 'purchase-17', $1 from generate_series(1, $2)";
            sqlx::query(insert).bind(PAYLOAD.as_slice()).bind(count).execute(&mut *tx).await.unwrap();
        }
        Extra::Events(count) => outbox.append(&mut *tx, events(*count)).await.unwrap(),
    }
    tx.commit().await.unwrap();
}

fn events(count: usize) -> Vec<Event> {
    let event = |n| Event::raw("purchase.made", &format!("purchase-{n}"), "text/plain", PAYLOAD.as_slice());
    (0..count).map(|n| event(n).unwrap()).collect()
}

/// Appends so many events, a thousand to a transaction.
async fn fill(pool: &PgPool, count: usize) {
    let outbox = Outbox::new();
    for _ in 0..count / 1_000 {
        let mut tx = pool.begin().await.unwrap();
        outbox.append(&mut *tx, events(1_000)).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// Runs a relay until so many events have left.
async fn relay(pool: &PgPool, count: usize) -> Duration {
    let taken = Arc::new(Taken { left: AtomicUsize::new(count), all: Notify::new() });
    let source = Arc::new(PoolSource::new(pool.clone()));
    let relay = Relay::new("main", source, Arc::clone(&taken) as Arc<dyn Sink>).unwrap();
    let cancel = CancellationToken::new();
    let start = Instant::now();
    let task = tokio::spawn({
        let cancel = cancel.clone();
        async move { relay.run(cancel).await }
    });
    taken.all.notified().await;
    let took = start.elapsed();
    cancel.cancel();
    task.await.unwrap();
    took
}

/// A sink that takes everything and says when all is there.
struct Taken {
    left: AtomicUsize,
    all: Notify,
}

#[async_trait]
impl Sink for Taken {
    async fn publish(&self, _: &Lane, batch: &[Record]) -> Result<(), SinkError> {
        let before = self.left.fetch_sub(batch.len(), Ordering::Relaxed);
        assert!(before >= batch.len(), "an event left twice");
        if before == batch.len() {
            self.all.notify_one();
        }
        Ok(())
    }
}
