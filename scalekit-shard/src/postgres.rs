//! Postgres shards.

use std::{str::FromStr, time::Duration};

use scalekit_core::{
    Error, ErrorKind, Result, Signals,
    db::{PoolSource, Pooler, Postgres, Tx},
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    TopologyBuilder,
    engine::{Engine, Place, PoolSize},
};

/// A pool that nobody uses gives its connections back.
const IDLE: Duration = Duration::from_secs(300);

/// See the file.
const IDENTITY: &str = include_str!("sql/postgres/identity.sql");

impl Engine for Postgres {
    type Settings = Pooler;
    type Source = PoolSource;

    fn pool(url: &str, size: PoolSize) -> Result<PgPool> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| Error::new(ErrorKind::Config, "not a Postgres URL").with_source(error))?;
        // A broken connection is found by its BEGIN; a ping before it would cost each transaction a round trip.
        let pool = PgPoolOptions::new()
            .max_connections(size.max)
            .min_connections(0)
            .acquire_timeout(size.acquire)
            .idle_timeout(IDLE)
            .test_before_acquire(false);
        Ok(pool.connect_lazy_with(options))
    }

    fn source(pool: PgPool, pooler: &Pooler, size: PoolSize, signals: Signals) -> PoolSource {
        let source = PoolSource::new(pool).with_pooler(*pooler).with_acquire_timeout(size.acquire);
        source.with_signals(signals)
    }

    async fn begin(source: &PoolSource) -> Result<Tx> {
        source.open().await
    }

    async fn identity(tx: &mut Tx) -> Result<Option<String>> {
        Ok(sqlx::query_scalar(IDENTITY).persistent(false).fetch_one(&mut **tx).await?)
    }

    fn is_down(source: &PoolSource) -> bool {
        source.is_down()
    }

    fn place(pool: &PgPool) -> Place {
        let options = pool.connect_options();
        let (port, role) = (options.get_port(), options.get_username().to_owned());
        let server = match options.get_socket() {
            Some(socket) => format!("{}:{port}", socket.display()),
            None => format!("{}:{port}", options.get_host().to_ascii_lowercase()),
        };
        Place { server, database: options.get_database().unwrap_or(&role).to_owned(), role }
    }
}

impl TopologyBuilder<Postgres> {
    /// What stands between the shards' pools and Postgres; nothing unless said otherwise.
    pub fn with_pooler(mut self, pooler: Pooler) -> Self {
        self.settings = pooler;
        self
    }
}
