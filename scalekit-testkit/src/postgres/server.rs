//! A running private Postgres server: its databases, and what can be done to it.
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::sync::Mutex;

use super::{
    PostgresBuilder,
    database::{Database, Template},
};
use crate::os::Server;

/// A private Postgres server on 127.0.0.1, superuser `postgres`, no password. Dropping it ends it and removes its
/// files; a failing test shows its log.
pub struct PostgresServer {
    server: Arc<Server>,
    data: PathBuf,
    pub(super) config: PostgresBuilder,
    next: AtomicUsize,
    /// Name to (SQL, database name) of every template.
    templates: Mutex<HashMap<String, (String, String)>>,
}

impl std::fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresServer").field("port", &self.port()).finish_non_exhaustive()
    }
}

impl PostgresServer {
    pub(super) fn new(server: Server, data: PathBuf, config: PostgresBuilder) -> Self {
        let (next, templates) = (AtomicUsize::new(0), Mutex::default());
        Self { server: Arc::new(server), data, config, next, templates }
    }

    /// The URL of its database `postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.port(), "postgres")
    }

    /// Its TCP port; it stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The process id of the postmaster (another one after a restart).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// A fresh empty database, some 0.1 s. It stays until the server ends.
    pub async fn database(&self) -> Database {
        self.clone_of("template1").await
    }

    /// A database that the statements are run in once, to be cloned by each test.
    ///
    /// Each string may hold many statements. The same name gives the same template; other SQL under it panics.
    pub async fn template(&self, name: &str, sql: &[&str]) -> Template<'_> {
        let text = sql.join("\n;\n");
        let mut templates = self.templates.lock().await;
        if let Some((known, database)) = templates.get(name) {
            assert!(*known == text, "the template {name:?} was made from other SQL");
            return Template::new(self, database.clone());
        }
        let database = self.clone_of("template1").await;
        let mut connection = connect(&database.url(), &self.server).await;
        for statements in sql {
            let done = sqlx::raw_sql(AssertSqlSafe(*statements)).execute(&mut connection).await;
            done.unwrap_or_else(|e| panic!("template {name:?}: {e} in:\n{statements}"));
        }
        // A template that anybody is connected to cannot be cloned.
        connection.close().await.unwrap_or_else(|e| panic!("template {name:?}: {e}"));
        let database = database.name().to_owned();
        templates.insert(name.to_owned(), (text, database.clone()));
        Template::new(self, database)
    }

    /// SIGKILL to every process of the server; returns when none is left. Connections are refused from then on.
    pub async fn kill(&self) {
        self.server.kill().await;
        super::cluster::remove_shared_memory(&self.data);
    }

    /// SIGQUIT, the immediate shutdown: clients are cut off, and the next start recovers from the log.
    pub async fn quit(&self) {
        self.server.end("QUIT").await;
    }

    /// Stops all its processes (SIGSTOP): connections stay open, the kernel still accepts, nothing is answered.
    pub async fn pause(&self) {
        self.server.pause().await;
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server.resume();
    }

    /// Starts it on the same port and data, killing it first if it runs; returns when it serves.
    pub async fn restart(&self) {
        self.server.restart().await;
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server.log_tail()
    }

    /// A new database, a copy of the named one.
    pub(super) async fn clone_of(&self, template: &str) -> Database {
        let name = format!("test_{}", self.next_number());
        self.admin(format!("create database {name} template {template}")).await;
        Database::new(url(self.port(), &name), name, Arc::clone(&self.server))
    }

    /// One statement as superuser; its first column as text, row by row.
    pub(super) async fn admin(&self, sql: String) -> Vec<String> {
        let mut connection = connect(&self.url(), &self.server).await;
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.clone())).fetch_all(&mut connection).await;
        let rows = rows.unwrap_or_else(|e| panic!("{sql}: {e}\n{}", self.log_tail()));
        let _ = connection.close().await;
        rows.iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
    }

    /// A number that no other database, slot or template of this server has.
    pub(super) fn next_number(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// A connection for one task: a kept one would belong to the runtime of the test that opened it.
async fn connect(url: &str, server: &Server) -> PgConnection {
    let connection = PgConnection::connect(url).await;
    connection.unwrap_or_else(|e| panic!("cannot connect to {url}: {e}\n{}", server.log_tail()))
}
