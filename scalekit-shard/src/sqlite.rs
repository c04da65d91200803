//! Shards that are SQLite files, for demos and unit tests.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use scalekit_core::{
    Error, ErrorKind, Result, Signals,
    db::{FileLock, Sqlite, SqliteSource, Tx},
};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    TopologyBuilder,
    engine::{Engine, Place, PoolSize},
};

/// How long a reader waits while the file is being recovered; writers queue before they ask.
const BUSY: Duration = Duration::from_secs(5);

/// The write locks of the files of a process, to be shared by all its topologies.
///
/// ```no_run
/// # fn f(map: scalekit_shard::ShardMap) -> scalekit_core::Result<()> {
/// use scalekit_core::db::Sqlite;
/// use scalekit_shard::{FileLocks, Topology};
///
/// let files = FileLocks::default();
/// let pod = |map| {
///     Topology::<Sqlite>::builder(map).with_files(files.clone()).with_url("s0", "sqlite:s0.db").build()
/// };
/// let (first, second) = (pod(map.clone())?, pod(map)?); // their writers queue in one line
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct FileLocks(Arc<Mutex<BTreeMap<PathBuf, FileLock>>>);

impl FileLocks {
    /// The lock of a file.
    pub fn of(&self, path: impl Into<PathBuf>) -> FileLock {
        let path = path.into();
        let path = std::path::absolute(&path).unwrap_or(path);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default().clone()
    }
}

/// See the file.
const IDENTITY: &str = include_str!("sql/sqlite/identity.sql");

impl Engine for Sqlite {
    type Settings = FileLocks;
    type Source = SqliteSource;

    fn pool(url: &str, size: PoolSize) -> Result<SqlitePool> {
        let options = SqliteConnectOptions::from_str(url)
            .map_err(|error| Error::new(ErrorKind::Config, "not a SQLite URL").with_source(error))?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(size.max)
            .min_connections(0)
            .acquire_timeout(BUSY)
            .test_before_acquire(false);
        Ok(pool.connect_lazy_with(options))
    }

    fn source(pool: SqlitePool, files: &FileLocks, _: PoolSize, signals: Signals) -> SqliteSource {
        let lock = files.of(pool.connect_options().get_filename());
        SqliteSource::new(pool, lock).with_signals(signals)
    }

    async fn begin(source: &SqliteSource) -> Result<Tx<Sqlite>> {
        source.open().await
    }

    async fn identity(tx: &mut Tx<Sqlite>) -> Result<Option<String>> {
        Ok(sqlx::query_scalar(IDENTITY).persistent(false).fetch_one(&mut **tx).await?)
    }

    /// A file is there or it is not.
    fn is_down(_: &SqliteSource) -> bool {
        false
    }

    fn place(pool: &SqlitePool) -> Place {
        let options = pool.connect_options();
        let path = options.get_filename();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // A file is a server and a database at once, and has no roles.
        let path = path.display().to_string();
        Place { server: path.clone(), database: path, role: String::new() }
    }
}

impl TopologyBuilder<Sqlite> {
    /// The locks of the files; those of another topology of this process that writes to the same ones.
    pub fn with_files(mut self, files: FileLocks) -> Self {
        self.settings = files;
        self
    }
}
