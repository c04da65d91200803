//! What a private Redis server is started with.
use std::{fmt::Write, fs};

use super::{server::RedisServer, tls::Certificates};
use crate::os::{Binary, Server, Spawn, find, free_port, run};

/// Starts private Redis servers.
#[derive(Debug)]
pub struct Redis;

impl Redis {
    /// A server without persistence, ready, on a loopback port of its own.
    pub async fn start() -> RedisServer {
        Self::builder().start().await
    }

    /// A server to be configured.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }
}

/// The configuration of a private Redis server.
#[derive(Debug, Default)]
#[must_use]
pub struct RedisBuilder {
    settings: Vec<(String, String)>,
    users: Vec<(String, String, String)>,
    default_user_off: bool,
    tls: Option<Certificates>,
}

impl RedisBuilder {
    /// Append-only file, written through at every command: what was acknowledged survives `kill` and `restart`.
    pub fn appendonly_always(self) -> Self {
        self.setting("appendonly", "yes").setting("appendfsync", "always")
    }

    /// Serve TLS only. The certificate is for 127.0.0.1 and localhost; see [`RedisServer::ca_pem`].
    pub fn tls(self) -> Self {
        self.tls_with(Certificates::make())
    }

    pub(super) fn tls_with(mut self, certificates: Certificates) -> Self {
        self.tls = Some(certificates);
        self
    }

    /// Serve TLS only, to clients with a certificate of the authority; see [`RedisServer::client_pem`].
    pub fn mutual_tls(self) -> Self {
        self.tls().setting("tls-auth-clients", "yes")
    }

    /// Adds an ACL user; `rules` as in `ACL SETUSER`, such as `~app:* &* +@all -@dangerous`.
    pub fn acl_user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.users.push((name.into(), password.into(), rules.into()));
        self
    }

    /// Refuses clients that do not sign in as one of the users.
    pub fn default_user_off(mut self) -> Self {
        self.default_user_off = true;
        self
    }

    /// Any line of `redis.conf`; it stands after those of the kit and wins.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server; returns when it serves.
    pub async fn start(self) -> RedisServer {
        let program = find(&Binary { name: "redis-server", package: "redis-server" });
        let dir = run().scratch("redis");
        let port = free_port();
        if let Some(certificates) = &self.tls {
            certificates.write(&dir);
        }
        let admin_password = format!("{:016x}", crate::random::entropy());

        let mut conf = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(conf, "{name} {value}");
        };
        let number = port.number().to_string();
        line("bind", "127.0.0.1");
        line("port", if self.tls.is_some() { "0" } else { &number });
        line("dir", &quoted(&dir.display().to_string()));
        line("unixsocket", &quoted(&dir.join("socket").display().to_string()));
        line("save", "\"\"");
        line("appendonly", "no");
        if self.tls.is_some() {
            line("tls-port", &number);
            line("tls-auth-clients", "no");
            let files =
                [("tls-ca-cert-file", "ca.pem"), ("tls-cert-file", "cert.pem"), ("tls-key-file", "key.pem")];
            for (name, file) in files {
                line(name, &quoted(&dir.join(file).display().to_string()));
            }
        }
        line("user", &format!("{} on >{admin_password} ~* &* +@all", RedisServer::ADMIN));
        for (name, password, rules) in &self.users {
            line("user", &format!("{name} on >{password} {rules}"));
        }
        if self.default_user_off {
            line("user", "default off");
        }
        for (name, value) in &self.settings {
            line(name, &quoted(value));
        }
        let file = dir.join("redis.conf");
        fs::write(&file, conf).unwrap_or_else(|e| panic!("{}: {e}", file.display()));

        let spawn = Spawn {
            program,
            args: vec![file.display().to_string()],
            env: Vec::new(),
            log: dir.join("log"),
            end: "KILL",
            user: None,
            piped: false,
        };
        let socket = dir.join("socket");
        let server = Server::start("redis-server", spawn, "Ready to accept connections", dir, port).await;
        RedisServer::new(server, socket, admin_password, self.users, self.tls)
    }
}

/// A value in double quotes, as `redis.conf` reads it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
