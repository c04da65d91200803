//! A running private Redis server: where it is, and what can be done to it.
use std::{collections::BTreeMap, path::PathBuf};

use super::{admin, tls::Certificates};
use crate::os::Server;

/// A private Redis server. Dropping it ends it and removes its files; a failing test shows its log.
pub struct RedisServer {
    server: Server,
    pub(super) socket: PathBuf,
    pub(super) admin_password: String,
    users: Vec<(String, String, String)>,
    tls: Option<Certificates>,
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisServer").field("port", &self.port()).finish_non_exhaustive()
    }
}

impl RedisServer {
    /// The user that the kit's own commands run as, over a Unix socket.
    pub(super) const ADMIN: &str = "testkit-admin";

    pub(super) fn new(
        server: Server,
        socket: PathBuf,
        admin_password: String,
        users: Vec<(String, String, String)>,
        tls: Option<Certificates>,
    ) -> Self {
        Self { server, socket, admin_password, users, tls }
    }

    /// `redis://127.0.0.1:PORT`, or `rediss://..` if it serves TLS.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.port())
    }

    /// The URL with the name and password of a user given to the builder.
    #[must_use]
    pub fn url_as(&self, user: &str) -> String {
        let found = self.users.iter().find(|(name, ..)| name == user);
        let (name, password, _) = found.unwrap_or_else(|| panic!("the builder was given no user {user:?}"));
        format!("{}://{name}:{password}@127.0.0.1:{}", self.scheme(), self.port())
    }

    /// Its TCP port; it stays the same over restarts, but for [`restart_elsewhere`](Self::restart_elsewhere).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// Its process id (another one after a restart).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The certificate of the authority that signed the server's; panics without [`tls`](super::RedisBuilder::tls).
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.certificates().ca
    }

    /// A certificate that the authority signed, and its key, for a client; panics without TLS.
    #[must_use]
    pub fn client_pem(&self) -> (&str, &str) {
        (&self.certificates().cert, &self.certificates().key)
    }

    /// Stops it (SIGSTOP): connections stay open, the kernel still accepts, nothing is answered.
    pub async fn pause(&self) {
        self.server.pause().await;
    }

    /// Lets it go on after [`pause`](Self::pause).
    pub fn resume(&self) {
        self.server.resume();
    }

    /// SIGKILL; returns when it is gone. The port stays reserved: connections are refused.
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Starts it on the same port and directory, killing it first if it runs. Without persistence it is empty.
    pub async fn restart(&self) {
        self.server.restart().await;
    }

    /// Starts it on another port, killing it first if it runs; what it has on disk, it keeps.
    pub async fn restart_elsewhere(&self) {
        let port = crate::os::free_port();
        let file = self.server.dir().join("redis.conf");
        let name = if self.tls.is_some() { "tls-port" } else { "port" };
        let line = format!("{name} {}\n", port.number());
        // The last line wins.
        let opened = std::fs::OpenOptions::new().append(true).open(&file);
        let written = opened.and_then(|mut conf| std::io::Write::write_all(&mut conf, line.as_bytes()));
        written.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        self.server.restart_on(port).await;
    }

    /// Runs a command as the kit's own user; its answer as text, one string a line.
    pub async fn admin(&self, command: &redis::Cmd) -> String {
        admin::run(self, command).await
    }

    /// Whether it takes writes, and follows no other server.
    pub async fn is_master(&self) -> bool {
        self.admin(redis::cmd("INFO").arg("replication")).await.contains("role:master\r")
    }

    /// How many bytes of changes it has made, or got from the server that it follows.
    pub async fn replication_offset(&self) -> u64 {
        let info = self.admin(redis::cmd("INFO").arg("replication")).await;
        // A replica has both; the first is what it got.
        let offset = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
        };
        let found = offset("slave_repl_offset").or_else(|| offset("master_repl_offset"));
        found.unwrap_or_else(|| panic!("no offset in {info}"))
    }

    /// Ends it and removes its files, as dropping it does.
    pub fn shutdown(self) {
        drop(self);
    }

    /// Removes every key of every database.
    pub async fn flushall(&self) {
        admin::flushall(self).await;
    }

    /// Forgets all scripts, as a restart or a failover does.
    pub async fn script_flush(&self) {
        admin::script_flush(self).await;
    }

    /// How often each command ran since the start or [`reset_commandstats`](Self::reset_commandstats).
    ///
    /// Commands that a script calls are counted beside the `evalsha` itself, and a connection's set-up
    /// (`hello`, `client|setinfo`) counts too. The kit's own `auth`, `info` and `config` are left out.
    pub async fn commandstats(&self) -> BTreeMap<String, u64> {
        admin::commandstats(self).await
    }

    /// Sets all counts of [`commandstats`](Self::commandstats) to 0.
    pub async fn reset_commandstats(&self) {
        admin::reset_commandstats(self).await;
    }

    /// The keys of database 0 in order; bytes that are no UTF-8 are replaced.
    pub async fn keys(&self) -> Vec<String> {
        admin::keys(self).await
    }

    /// Every key of every database with everything stored under it, as plain bytes, to search for a secret.
    pub async fn dump_everything(&self) -> Vec<u8> {
        admin::dump_everything(self).await
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server.log_tail()
    }

    fn certificates(&self) -> &Certificates {
        self.tls.as_ref().unwrap_or_else(|| panic!("this Redis server was not built with tls()"))
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "rediss" } else { "redis" }
    }
}
