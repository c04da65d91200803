//! A private NATS server with JetStream.
use crate::os::{Binary, Server, Spawn, find, free_port, run};

/// A NATS server of its own with JetStream on. Dropping it ends it; a failing test shows its log.
pub struct Nats {
    server: Server,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Nats {
    /// Starts it; returns when it serves.
    pub async fn start() -> Self {
        let program = find(&Binary { name: "nats-server", package: "nats-server" });
        let (dir, port) = (run().scratch("nats"), free_port());
        let number = port.number().to_string();
        let store = dir.join("store").display().to_string();
        let args = ["-a", "127.0.0.1", "-p", &number, "-js", "-sd", &store].map(String::from).into();
        let log = dir.join("log");
        let spawn = Spawn { program, args, env: Vec::new(), log, end: "KILL", user: None, piped: false };
        Self { server: Server::start("nats-server", spawn, "Server is ready", dir, port).await }
    }

    /// `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.addr())
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.server.port()).into()
    }

    /// SIGKILL; connections are refused from then on.
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Starts it on the same port and store, killing it first if it runs.
    pub async fn restart(&self) {
        self.server.restart().await;
    }

    /// Stops it (SIGSTOP): connections stay open, nothing is answered.
    pub async fn pause(&self) {
        self.server.pause().await;
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server.resume();
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server.log_tail()
    }
}
