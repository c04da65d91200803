//! What a private Postgres server is started with.
use std::path::PathBuf;

use tokio::sync::OnceCell;

use super::{
    cluster::{new_cluster, new_system, program},
    server::PostgresServer,
};
use crate::os::{Server, Spawn, free_port, run, unprivileged_user};

/// Starts private Postgres servers.
#[derive(Debug)]
pub struct Postgres;

impl Postgres {
    /// A server of its own, ready, without fsync. It takes some 0.3 s once the machine has its template.
    pub async fn start() -> PostgresServer {
        Self::builder().start().await
    }

    /// The one server that the tests of a test binary share, started by the first that asks.
    ///
    /// It ends with the test process. Take a [`database`](PostgresServer::database) of your own on it, and do
    /// not kill, pause or restart it: start your own for that.
    pub async fn shared() -> &'static PostgresServer {
        static SHARED: OnceCell<PostgresServer> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A server to be configured.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }
}

/// The configuration of a private Postgres server.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct PostgresBuilder {
    fsync: bool,
    system: bool,
    settings: Vec<(String, String)>,
}

impl PostgresBuilder {
    /// Flush to the disk at every commit, as production does; off by default.
    ///
    /// Off, a commit still reaches the operating system before it is acknowledged: it survives
    /// [`kill`](PostgresServer::kill), though it would not survive a power cut.
    pub fn fsync(mut self, on: bool) -> Self {
        self.fsync = on;
        self
    }

    /// A system identifier of its own, which takes `initdb` a second or two; else all servers of a machine are copies
    /// of one.
    pub fn own_system(mut self) -> Self {
        self.system = true;
        self
    }

    /// Any server setting, as on the command line (`-c name=value`); it wins over the kit's own.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server; returns when it serves.
    pub async fn start(self) -> PostgresServer {
        let dir = run().scratch("postgres");
        let data = if self.system { new_system(&dir) } else { new_cluster(&dir) };
        start_on(dir, data, self).await
    }
}

/// Starts a server on a data directory that is there.
pub(super) async fn start_on(dir: PathBuf, data: PathBuf, config: PostgresBuilder) -> PostgresServer {
    let port = free_port();
    let fsync = if config.fsync { "on" } else { "off" };
    let number = port.number().to_string();
    let own = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &number),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
        ("fsync", fsync),
        ("full_page_writes", fsync),
        ("lc_messages", "C"),
        ("log_line_prefix", "%m [%p] %d "),
        // Files in the data directory: the default leaves segments in /dev/shm after SIGKILL.
        ("dynamic_shared_memory_type", "mmap"),
    ];
    let given = config.settings.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let mut args = vec!["-D".to_owned(), data.display().to_string()];
    for (name, value) in own.into_iter().chain(given) {
        args.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    let spawn = Spawn {
        program: program("postgres"),
        args,
        env: Vec::new(),
        log: dir.join("log"),
        // Immediate shutdown: by SIGKILL its System V segment would stay behind.
        end: "QUIT",
        user: unprivileged_user(),
        piped: false,
    };
    // A standby says "read-only connections" (or "read only", by version).
    let ready = "database system is ready to accept";
    PostgresServer::new(Server::start("postgres", spawn, ready, dir, port).await, data, config)
}
