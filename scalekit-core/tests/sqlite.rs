//! The embedded twin: writers take turns, and an abandoned one has rolled back before the next begins.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use scalekit_core::{
    ErrorKind, Position,
    db::{
        self, Answer, Claim, ClaimId, Claimed, FileLock, Finished, Sqlite, SqliteSource, Tx, claim, finish,
    },
};
use scalekit_testkit::{Rng, at_once, drop_at_each_await, evidence, full, seed, wait_until};
use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

/// A database file that is removed with this value.
struct File {
    path: PathBuf,
    /// The last connection that is closed takes the whole file for itself; this one stays.
    _keeper: SqliteConnection,
}

impl File {
    async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("core-{}-{}.db", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let create = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let file = Self { path, _keeper: SqliteConnection::connect_with(&create).await.unwrap() };
        let pool = file.pool(1);
        sqlx::raw_sql("pragma journal_mode = wal; create table note (body text not null)")
            .execute(&pool)
            .await
            .unwrap();
        db::migrate(&pool, &[db::MIGRATIONS]).await.unwrap();
        pool.close().await;
        file
    }

    fn pool(&self, max: u32) -> SqlitePool {
        let url = format!("sqlite:{}?mode=rwc", self.path.display());
        SqlitePoolOptions::new().max_connections(max).connect_lazy(&url).unwrap()
    }

    fn source(&self, max: u32, lock: &FileLock) -> SqliteSource {
        SqliteSource::new(self.pool(max), lock.clone())
    }

    async fn notes(&self) -> Vec<String> {
        let pool = self.pool(1);
        let all = sqlx::query_scalar("select body from note order by body").fetch_all(&pool).await.unwrap();
        pool.close().await;
        all
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            std::fs::remove_file(path).ok();
        }
    }
}

async fn write(tx: &mut Tx<Sqlite>, body: &str) {
    sqlx::query("insert into note (body) values (?1)").bind(body).execute(&mut **tx).await.unwrap();
}

fn answer() -> Answer {
    Answer { status: Some(201), head: b"head".to_vec(), body: Some(b"body".to_vec()), after_commit: None }
}

/// Takes the next turn with another pool, whose connection finds the file locked at once if it is.
async fn next_writer_is_not_locked_out(file: &File, lock: &FileLock) {
    let impatient = SqliteConnectOptions::new().filename(&file.path).busy_timeout(Duration::ZERO);
    let pool = SqlitePool::connect_lazy_with(impatient);
    let next = SqliteSource::new(pool.clone(), lock.clone());
    let mut tx = next.open().await.unwrap();
    write(&mut tx, "next").await;
    tx.commit().await.unwrap();
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transaction_has_rolled_back_before_the_next_begins() {
    let (file, lock) = (File::new().await, FileLock::default());
    let source = file.source(2, &lock);
    for _ in 0..50 {
        let mut tx = source.open().await.unwrap();
        write(&mut tx, "lost").await;
        let (_, ()) = tokio::join!(next_writer_is_not_locked_out(&file, &lock), async { drop(tx) });
    }
    assert_eq!(file.notes().await, ["next"; 50]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_runtime_is_shut_down_has_rolled_back_before_the_next_begins() {
    let (file, lock) = (File::new().await, FileLock::default());
    for round in 0..10 {
        let source = file.source(2, &lock);
        let (began, begun) = tokio::sync::oneshot::channel();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let mut tx = source.open().await.unwrap();
            write(&mut tx, "lost").await;
            began.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(tx);
        });
        begun.await.unwrap();
        match round % 2 {
            0 => runtime.shutdown_background(),
            _ => tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap(),
        }
        next_writer_is_not_locked_out(&file, &lock).await;
    }
    assert_eq!(file.notes().await, ["next"; 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begin_or_commit_that_is_dropped_anywhere_locks_nobody_out() {
    let (file, lock) = (File::new().await, FileLock::default());
    let source = file.source(2, &lock);
    let round = AtomicU32::new(0);
    let write_two = || {
        let body = round.fetch_add(1, Ordering::SeqCst).to_string();
        let source = &source;
        async move {
            let mut tx = source.open().await.unwrap();
            write(&mut tx, &body).await;
            write(&mut tx, &body).await;
            tx.commit().await.unwrap();
        }
    };
    // No proxy can slow SQLite's thread down: where it answers at once there is no await, and a search ends early.
    let mut most = 0;
    for _ in 0..1_000 {
        let points = drop_at_each_await(write_two, async |point| {
            next_writer_is_not_locked_out(&file, &lock).await;
            let body = (round.load(Ordering::SeqCst) - 1).to_string();
            let written = file.notes().await.iter().filter(|note| **note == body).count();
            assert!(written == 0 || written == 2, "{written} of 2 rows after a drop at {point:?}");
            assert!(point.is_some() || written == 2);
        })
        .await;
        most = most.max(points);
        if most >= 4 {
            return;
        }
    }
    panic!("no run waited for each of BEGIN, two writes and COMMIT: {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_three_pools_on_one_file_are_never_locked_out() {
    let seed = seed();
    let (file, lock) = (File::new().await, FileLock::default());
    let (writers, each) = (24, if full() { 500 } else { 10 });
    let pools: Vec<SqliteSource> = (0..3).map(|_| file.source(4, &lock)).collect();
    let waits = at_once(writers, |writer| {
        let source = pools[writer % 3].clone();
        let mut rng = Rng::new(seed ^ writer as u64);
        async move {
            let (mut committed, mut slowest) = (0, Duration::ZERO);
            for _ in 0..each {
                let start = std::time::Instant::now();
                let mut tx = source.open().await.unwrap();
                slowest = slowest.max(start.elapsed());
                write(&mut tx, &writer.to_string()).await;
                if rng.one_in(4) {
                    drop(tx);
                } else {
                    tx.commit().await.unwrap();
                    committed += 1;
                }
            }
            (committed, slowest)
        }
    })
    .await;
    let committed: usize = waits.iter().map(|(committed, _)| committed).sum();
    assert_eq!(file.notes().await.len(), committed);
    let slowest = waits.iter().map(|(_, slowest)| *slowest).max().unwrap();
    let what = format!("{writers} writers of 3 pools on one SQLite file");
    evidence(&what, &format!("{committed} commits"), &format!("none locked out; slowest turn {slowest:?}"));
}

#[tokio::test]
async fn begin_on_a_transaction_is_a_savepoint() {
    let (file, lock) = (File::new().await, FileLock::default());
    let source = file.source(1, &lock);
    let mut tx = source.open().await.unwrap();
    write(&mut tx, "outer").await;
    let inner = tx.begin().await.unwrap();
    inner.rollback().await.unwrap();
    let mut inner = tx.begin().await.unwrap();
    sqlx::query("insert into note (body) values ('dropped')").execute(&mut *inner).await.unwrap();
    drop(inner);
    tx.commit().await.unwrap();
    assert_eq!(file.notes().await, ["outer"]);
}

#[tokio::test]
async fn an_id_is_claimed_once_and_finished_once_by_its_holder() {
    let (file, lock) = (File::new().await, FileLock::default());
    let source = file.source(1, &lock);
    let claimed = Claim::new(ClaimId::new("test", [b"a".as_slice()])).with_fingerprint(*b"print");

    let mut tx = source.open().await.unwrap();
    let error = finish(&mut *tx, &claimed, &answer()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_)));
    drop(tx);

    let mut tx = source.open().await.unwrap();
    let Claimed::Taken(operation) = claim(&mut *tx, &claimed).await.unwrap() else {
        panic!("the drop freed it")
    };
    finish(&mut *tx, &claimed, &answer()).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = source.open().await.unwrap();
    let found = claim(&mut *tx, &claimed).await.unwrap();
    assert_eq!(
        found,
        Claimed::Before(Finished {
            operation,
            position: Position::ORIGIN,
            fingerprint: Some(b"print".to_vec()),
            answer: answer(),
        })
    );
    let error = finish(&mut *tx, &claimed, &answer()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
    drop(tx);

    let mut conn = file.pool(1).acquire().await.unwrap();
    let error = claim(&mut *conn, &claimed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse, "outside of a transaction");
}

#[tokio::test]
async fn an_id_is_free_again_after_its_retention() {
    let (file, lock) = (File::new().await, FileLock::default());
    let source = file.source(1, &lock);
    let claimed =
        Claim::new(ClaimId::new("test", [b"a".as_slice()])).with_retention(Duration::from_millis(200));
    let mut tx = source.open().await.unwrap();
    assert!(matches!(claim(&mut *tx, &claimed).await.unwrap(), Claimed::Taken(_)));
    finish(&mut *tx, &claimed, &answer()).await.unwrap();
    tx.commit().await.unwrap();
    wait_until("the claim expires", Duration::from_secs(20), async || {
        let mut tx = source.open().await.unwrap();
        match claim(&mut *tx, &claimed).await.unwrap() {
            Claimed::Taken(_) => true,
            Claimed::Before(found) => {
                assert_eq!(found.answer.body.as_deref(), Some(b"body".as_slice()));
                false
            }
            Claimed::Busy => panic!("there is one writer"),
        }
    })
    .await;
}
