//! A private PgBouncer before a private Postgres.
use std::{fmt::Write, fs};

use super::{Database, PostgresServer};
use crate::os::{Binary, Server, Spawn, find, free_port, run, unprivileged_user};

/// A PgBouncer of its own, any user, no password. Dropping it ends it; a failing test shows its log.
pub struct PgBouncer {
    server: Server,
}

impl std::fmt::Debug for PgBouncer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgBouncer").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

/// The configuration of a private PgBouncer.
#[derive(Debug, Default)]
#[must_use]
pub struct PgBouncerBuilder {
    settings: Vec<(String, String)>,
}

impl PgBouncer {
    /// In transaction mode, with 20 server connections per database.
    pub async fn start(postgres: &PostgresServer) -> Self {
        Self::builder().start(postgres).await
    }

    /// A PgBouncer to be configured.
    pub fn builder() -> PgBouncerBuilder {
        PgBouncerBuilder::default()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.server.port()).into()
    }

    /// The URL of the database through it.
    #[must_use]
    pub fn url(&self, database: &Database) -> String {
        database.url_via(self.addr())
    }

    /// SIGKILL; connections are refused from then on.
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Starts it on the same port, killing it first if it runs.
    pub async fn restart(&self) {
        self.server.restart().await;
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server.log_tail()
    }
}

impl PgBouncerBuilder {
    /// Any line of the section `[pgbouncer]`, such as `default_pool_size`; it wins over the kit's own.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts it before the server; returns when it serves.
    pub async fn start(self, postgres: &PostgresServer) -> PgBouncer {
        let program = find(&Binary { name: "pgbouncer", package: "pgbouncer" });
        let (dir, port) = (run().scratch("pgbouncer"), free_port());
        let target = format!("host=127.0.0.1 port={} user=postgres", postgres.port());
        let number = port.number().to_string();
        let mut ini = format!("[databases]\n* = {target}\n[pgbouncer]\n");
        let own = [
            ("listen_addr", "127.0.0.1"),
            ("listen_port", &number),
            ("unix_socket_dir", ""),
            ("auth_type", "any"),
            ("pool_mode", "transaction"),
            ("default_pool_size", "20"),
            ("max_client_conn", "1000"),
            ("ignore_startup_parameters", "extra_float_digits,options"),
        ];
        let given = self.settings.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        for (name, value) in own.into_iter().chain(given) {
            let _ = writeln!(ini, "{name} = {value}");
        }
        let file = dir.join("pgbouncer.ini");
        fs::write(&file, ini).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let spawn = Spawn {
            program,
            args: vec![file.display().to_string()],
            env: Vec::new(),
            log: dir.join("log"),
            end: "KILL",
            user: unprivileged_user(),
            piped: false,
        };
        PgBouncer { server: Server::start("pgbouncer", spawn, "process up", dir, port).await }
    }
}
