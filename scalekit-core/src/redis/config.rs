//! Where Redis is and how long to wait for it; read once, at construction.

use std::time::Duration;

use ::redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    io::tcp::TcpSettings,
};

use super::{
    cluster::{Address, Cluster},
    node::Node,
    tls::Tls,
};
use crate::{Error, ErrorKind, Result};

/// Commands of one process that may wait for answers at a time, on one connection.
const IN_FLIGHT: usize = 10_000;

/// How long to wait for Redis.
///
/// ```
/// use scalekit_core::redis::{Redis, RedisConfig};
/// use std::time::Duration;
///
/// let config = RedisConfig::default().with_io_budget(Duration::from_millis(50));
/// let redis = Redis::open_with(&["redis://127.0.0.1:6379/0"], config)?;
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisConfig {
    pub(super) io_budget: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) tls: Tls,
}

impl Default for RedisConfig {
    fn default() -> Self {
        let (io_budget, connect_timeout) = (Duration::from_millis(150), Duration::from_millis(400));
        Self { io_budget, connect_timeout, tls: Tls::default() }
    }
}

impl RedisConfig {
    /// How long one command may take, connecting included; 150 ms by default.
    pub fn with_io_budget(mut self, budget: Duration) -> Self {
        self.io_budget = budget;
        self
    }

    /// How long one attempt to connect may take, handshakes included; 400 ms by default.
    ///
    /// A command waits for it no longer than its own budget; the attempt goes on for those that follow.
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    pub(super) fn check(self) -> Result<Self> {
        let sane = Duration::from_millis(1)..=Duration::from_secs(60);
        if !sane.contains(&self.io_budget) || !sane.contains(&self.connect_timeout) {
            let (budget, connect) = (self.io_budget, self.connect_timeout);
            return Err(config(format!(
                "redis: budget {budget:?} and connect time-out {connect:?} must be 1 ms to 60 s"
            )));
        }
        Ok(self)
    }

    /// The settings of one connection; its commands are bounded by their callers.
    pub(super) fn connection(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(None)
            .set_concurrency_limit(IN_FLIGHT)
    }
}

/// Where the commands of a handle go.
pub(super) enum Target {
    Server(Box<Node>),
    Cluster(Cluster),
}

/// One URL is a server, several are nodes of one Cluster.
pub(super) fn target(urls: &[impl AsRef<str>], settings: &RedisConfig) -> Result<Target> {
    let nodes = urls.iter().map(|url| node(url.as_ref())).collect::<Result<Vec<_>>>()?;
    match <[ConnectionInfo; 1]>::try_from(nodes) {
        Ok([node]) => {
            let client = settings.tls.client(node)?;
            Ok(Target::Server(Box::new(Node::new(client, settings.clone()))))
        }
        Err(nodes) => cluster(nodes, settings).map(Target::Cluster),
    }
}

fn cluster(nodes: Vec<ConnectionInfo>, settings: &RedisConfig) -> Result<Cluster> {
    let Some(template) = nodes.first().cloned() else { return Err(config("redis: no URL given")) };
    let (mut seeds, tls) =
        (Vec::new(), |node: &ConnectionInfo| matches!(node.addr(), ConnectionAddr::TcpTls { .. }));
    for node in nodes {
        let (ours, first) = (node.redis_settings(), template.redis_settings());
        let same = ours.username() == first.username()
            && ours.password() == first.password()
            && ours.protocol() == first.protocol()
            && tls(&node) == tls(&template);
        if !same {
            return Err(config("redis: the URLs of a Cluster differ in user, password, protocol or TLS"));
        }
        if ours.db() != 0 {
            return Err(config("redis: a Cluster has no database but 0"));
        }
        let (address, client) = (Address::of(&node), settings.tls.client(node)?);
        let Some(address) = address else {
            return Err(config("redis: a Unix socket is no node of a Cluster"));
        };
        if seeds.iter().all(|(known, _)| *known != address) {
            seeds.push((address, client));
        }
    }
    Ok(Cluster::new(seeds, template, settings.clone()))
}

fn node(url: &str) -> Result<ConnectionInfo> {
    let info = url
        .into_connection_info()
        .map_err(|error| config(format!("redis: cannot use {}", shown(url))).with_source(error))?;
    // RESP3 has the driver tell when the connection ends, so that nothing is sent into a dead one.
    let chosen = url.split_once('?').is_some_and(|(_, query)| query.contains("protocol="));
    let settings = info.redis_settings().clone();
    let settings = if chosen { settings } else { settings.set_protocol(ProtocolVersion::RESP3) };
    Ok(info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

/// A URL as it may be shown: without user, password and query. What follows no `@` may be a misplaced password.
fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = bare.split_once("://").unwrap_or(("", bare));
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("the URL \"{scheme}://***@{host}\""),
        None if rest.starts_with(':') => format!("the URL \"{scheme}://***\""),
        None => format!("the URL \"{bare}\""),
    }
}

pub(super) fn config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_named_without_its_secrets() {
        let bad = [
            "http://u:hunter2@host/0",
            "redis://u:hunter2@host:6379/none",
            "redis://u:hunter2@:6379",
            "redis://:hunter2",
            "redis://u:hunter2@@/x",
            "unix:///tmp/s?pass=hunter2&db=none",
            "",
        ];
        for url in bad {
            let error = target(&[url], &RedisConfig::default()).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let mixed = ["redis://u:hunter2@a:1", "redis://u:other@b:1"];
        let error = target(&mixed, &RedisConfig::default()).map(|_| ()).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
        assert!(target(&[] as &[&str], &RedisConfig::default()).is_err());
    }

    #[test]
    fn every_documented_form_is_read() {
        let good = [
            "redis://127.0.0.1",
            "redis://user:p%40ss@localhost:6380/3",
            "redis://:pass@[::1]:6379",
            "redis+unix:///tmp/redis.sock?db=2&user=u&pass=p",
            "unix:///tmp/redis.sock",
            "redis://h?protocol=resp2",
        ];
        for url in good {
            assert!(target(&[url], &RedisConfig::default()).is_ok(), "{url}");
        }
        assert!(RedisConfig::default().with_io_budget(Duration::ZERO).check().is_err());
    }
}
