//! Random histories on Postgres: writers that take turns per key, in transactions of every kind, against relays that
//! come and go.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use scalekit_core::db::{self, PoolSource, Postgres};
use scalekit_outbox::{Outbox, Relay};
use scalekit_testkit::{Rng, full, seed, wait_until};
use sqlx::{Connection, PgConnection, PgPool};
use support::{Ledger, Mortal, number, numbered};

const KEYS: u64 = 12;
const WRITERS: u64 = 6;

struct World {
    pool: PgPool,
    outbox: Outbox,
    ledger: Arc<Ledger>,
}

impl World {
    fn relay(&self) -> Mortal {
        let source = PoolSource::new(self.pool.clone()).with_acquire_timeout(Duration::from_secs(20));
        let relay = Relay::<Postgres>::new("east", Arc::new(source), self.ledger.clone()).unwrap();
        Mortal::run(Arc::new(relay.with_outbox(&self.outbox).with_lease(Duration::from_secs(1))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_history_loses_or_reorders_an_event() {
    let seed = seed();
    let (transactions, kills) = if full() { (20_000, 500) } else { (60, 10) };
    let server =
        scalekit_testkit::Postgres::builder().setting("max_prepared_transactions", "50").start().await;
    let database = server.database().await;
    let pool = database.pool(40).await;
    db::migrate(&pool, &[db::MIGRATIONS, scalekit_outbox::MIGRATIONS]).await.unwrap();
    sqlx::raw_sql(
        "create table counter (key text primary key, n bigint not null); create table noise (n bigint)",
    )
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("insert into counter select 'k' || g, 0 from generate_series(0, $1 - 1) g")
        .bind(KEYS as i64)
        .execute(&pool)
        .await
        .unwrap();
    let world =
        Arc::new(World { pool: pool.clone(), outbox: Outbox::new(), ledger: Arc::new(Ledger::default()) });

    // An unrelated writer stays open through it all: it must hold nothing up.
    let mut long = pool.begin().await.unwrap();
    sqlx::query("insert into noise values (0)").execute(&mut *long).await.unwrap();

    let writing = Arc::new(AtomicBool::new(true));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(Arc::clone(&world), Rng::new(seed ^ (writer + 1)), transactions));
    }
    let chaos = tokio::spawn(chaos(Arc::clone(&world), Rng::new(seed), kills, Arc::clone(&writing)));
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    // What was prepared and left is resolved only now.
    resolve_prepared(&pool, &mut Rng::new(seed)).await;
    writing.store(false, Ordering::SeqCst);
    let expected = counters(&pool).await;
    wait_until("all events are there", Duration::from_secs(60), async || arrived(&world.ledger, &expected))
        .await;
    chaos.await.unwrap();
    check(&world.ledger, &expected);
    let events: u64 = expected.values().sum();
    let often = format!("{events} events of {KEYS} keys, {kills} kills of relays, seed {seed}");
    scalekit_testkit::evidence("random histories", &often, "none lost, none out of order");
    long.rollback().await.unwrap();
}

/// Transactions that take the lock of their keys before they append.
async fn write(world: Arc<World>, mut rng: Rng, transactions: u64) {
    for _ in 0..transactions {
        let mut tx = world.pool.begin().await.unwrap();
        if rng.one_in(2) {
            // A transaction id from before the turn: transactions do not commit in the order of their ids.
            sqlx::query("insert into noise values (1)").execute(&mut *tx).await.unwrap();
        }
        pause(&mut rng).await;
        let mut keys: Vec<u64> = (0..=rng.below(2)).map(|_| rng.below(KEYS)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            if rng.one_in(4) {
                let mut savepoint = tx.begin().await.unwrap();
                append_next(&world, &mut savepoint, key).await;
                if rng.one_in(2) {
                    savepoint.rollback().await.unwrap()
                } else {
                    savepoint.commit().await.unwrap()
                }
            } else {
                append_next(&world, &mut tx, key).await;
            }
            pause(&mut rng).await;
        }
        match rng.below(10) {
            0 => tx.rollback().await.unwrap(),
            1 => prepare(tx, &world.pool, &mut rng).await,
            _ => tx.commit().await.unwrap(),
        }
    }
}

async fn append_next(world: &World, conn: &mut PgConnection, key: u64) {
    let key = format!("k{key}");
    let n: i64 = sqlx::query_scalar("update counter set n = n + 1 where key = $1 returning n")
        .bind(&key)
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    world.outbox.append(conn, numbered(&key, n.unsigned_abs())).await.unwrap();
}

/// Two-phase commit: ends, after a while, on another connection.
async fn prepare(mut tx: sqlx::Transaction<'_, Postgres>, pool: &PgPool, rng: &mut Rng) {
    let name = format!("t{}", rng.next_u64());
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("prepare transaction '{name}'")))
        .execute(&mut *tx)
        .await
        .unwrap();
    drop(tx);
    pause(rng).await;
    let verb = if rng.one_in(3) { "rollback" } else { "commit" };
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{verb} prepared '{name}'"))).execute(pool).await.unwrap();
}

async fn resolve_prepared(pool: &PgPool, rng: &mut Rng) {
    let left: Vec<String> =
        sqlx::query_scalar("select gid from pg_prepared_xacts").fetch_all(pool).await.unwrap();
    for name in left {
        let verb = if rng.one_in(2) { "rollback" } else { "commit" };
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{verb} prepared '{name}'"))).execute(pool).await.unwrap();
    }
}

async fn pause(rng: &mut Rng) {
    if rng.one_in(3) {
        tokio::time::sleep(Duration::from_micros(rng.below(8000))).await;
    }
}

/// Up to four relays, of which now and then one is killed wherever it is.
async fn chaos(world: Arc<World>, mut rng: Rng, kills: u32, writing: Arc<AtomicBool>) {
    let mut relays = Vec::new();
    let mut killed = 0;
    while killed < kills || writing.load(Ordering::SeqCst) {
        while relays.len() < 4 {
            relays.push(world.relay());
        }
        tokio::time::sleep(Duration::from_millis(rng.below(200))).await;
        if killed < kills {
            relays.swap_remove(rng.below(relays.len() as u64) as usize).kill().await;
            killed += 1;
        }
    }
    let expected = counters(&world.pool).await;
    wait_until("all is relayed", Duration::from_secs(60), async || arrived(&world.ledger, &expected)).await;
    for relay in relays {
        relay.kill().await;
    }
}

async fn counters(pool: &PgPool) -> BTreeMap<String, u64> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select key, n from counter").fetch_all(pool).await.unwrap();
    rows.into_iter().map(|(key, n)| (key, n.unsigned_abs())).collect()
}

fn arrived(ledger: &Ledger, expected: &BTreeMap<String, u64>) -> bool {
    let numbers = ledger.numbers();
    expected.iter().all(|(key, n)| *n == 0 || numbers.get(key).is_some_and(|seen| seen.contains(n)))
}

/// Every number of every key is there; a repetition starts at an earlier one and goes on without a gap.
fn check(ledger: &Ledger, expected: &BTreeMap<String, u64>) {
    let numbers = ledger.numbers();
    for (key, count) in expected {
        let mut next = 1;
        for seen in numbers.get(key).into_iter().flatten() {
            assert!(*seen <= next, "{key}: {seen} came before {next}: {:?}", numbers[key]);
            next = next.max(seen + 1);
        }
        assert_eq!(next, count + 1, "{key}");
    }
    let mut places = HashMap::new();
    for (_, record) in ledger.taken() {
        let what = (record.key.clone(), number(&record));
        let known = places.entry(what).or_insert((record.id, record.position));
        assert_eq!(*known, (record.id, record.position), "a repetition has the same id and place");
    }
}
