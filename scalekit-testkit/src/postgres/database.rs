//! A database of a test's own, and templates to clone it from.
use std::sync::Arc;

use sqlx::{PgPool, postgres::PgPoolOptions};

use super::server::PostgresServer;
use crate::os::Server;

/// A database of a test's own. It stays until its server ends; a failing test shows the server's log.
pub struct Database {
    url: String,
    name: String,
    server: Arc<Server>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Database {
    pub(super) fn new(url: String, name: String, server: Arc<Server>) -> Self {
        Self { url, name, server }
    }

    /// `postgres://postgres@127.0.0.1:PORT/NAME`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The same database through another port, such as a proxy's.
    #[must_use]
    pub fn url_via(&self, addr: std::net::SocketAddr) -> String {
        format!("postgres://postgres@{addr}/{}", self.name)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool of at most `max` connections, one of them open.
    pub async fn pool(&self, max: u32) -> PgPool {
        let pool = PgPoolOptions::new().max_connections(max).connect(&self.url).await;
        pool.unwrap_or_else(|e| panic!("cannot connect to {}: {e}\n{}", self.url, self.server.log_tail()))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.server.show_log_if_panicking();
    }
}

/// A prepared database that tests clone; see [`PostgresServer::template`].
#[derive(Debug)]
pub struct Template<'a> {
    server: &'a PostgresServer,
    database: String,
}

impl<'a> Template<'a> {
    pub(super) fn new(server: &'a PostgresServer, database: String) -> Self {
        Self { server, database }
    }

    /// A fresh copy of the template.
    pub async fn database(&self) -> Database {
        self.server.clone_of(&self.database).await
    }
}
