//! The command line, checked: a value that cannot work is one line on stderr, before anything starts.

mod key_ring;
mod shard;
mod urls;

use std::{
    ffi::OsString,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
};

use clap::{Parser, error::ErrorKind};
use reqwest::Url;
use scalekit::slo::Naming;

pub(crate) use key_ring::KeyFile;
pub(crate) use shard::ShardSpec;
pub(crate) use urls::Events;

/// A shop whose sessions, orders and events survive the death of any process.
///
/// Without options it needs nothing: two SQLite shards in a temporary directory, sessions in memory, events to a
/// consumer in this process, a payment provider of its own.
///
/// While it runs, lines on standard input drive its pods, numbered from 1: `stop I` drains one, `kill I` drops all its
/// work at once, `start I` starts it again. Each is acknowledged on standard output.
///
/// SIGTERM and Ctrl-C drain it, within 10 seconds; while it starts they end it at once. Exit codes: 0 if it was told to
/// end, 1 if it failed, 2 if it cannot work as it was configured.
#[derive(Parser, Debug)]
#[command(name = "checkout", version, max_term_width = 110)]
struct Arguments {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: String,

    /// What browsers call this service [default: http://ADDR]; https sets the cookie `__Host-id` with `Secure`,
    /// http sets `id` without it and is accepted for a loopback host only.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// How many pods to run in this process: each has its own router, pools, relay, consumer and runtime.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    pods: u32,

    /// Redis for sessions (and events); repeat for the nodes of a Cluster [default: sessions in memory].
    #[arg(long, value_name = "URL")]
    redis: Vec<String>,

    /// A database shard; repeat for each. `NAME=sqlite:///FILE`, or `NAME=postgres://..` in a build with the feature
    /// `postgres` [default: two SQLite files in a temporary directory].
    #[arg(long, value_name = "NAME=URL")]
    shard: Vec<String>,

    /// What carries events from the outbox to consumers: `memory`, or `redis` for the streams of `--redis`.
    #[arg(long, value_name = "memory|redis|URL", default_value = "memory")]
    events: String,

    /// The payment provider, asked by `POST URL/charges` [default: a simulator in this process].
    #[arg(long, value_name = "URL")]
    payments: Option<String>,

    /// Connections per shard that requests may use; relay, consumer and probes use at most 4 more.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pool_max: u32,

    /// How many such processes the whole service runs, for the connection budget: N (or the pods of this process, if
    /// they are more) x shards x (pool-max + 4) must fit the 200 connections that a server is taken to have.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    processes: u32,

    /// What metrics are called: `semconv` as OpenTelemetry's conventions say, or `classic` as queries and autoscalers
    /// from before them do.
    #[arg(long, value_name = "semconv|classic", default_value = "semconv")]
    naming: String,

    /// The keys that sign and seal, one `ID:BASE64` of 32 bytes a line; the first signs, all are accepted. SIGHUP reads
    /// the file again [default: a key made for this process alone].
    #[arg(long, value_name = "FILE")]
    key_ring: Option<PathBuf>,
}

/// Everything that the command line decides, checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    /// `None` stands for `http://ADDR` of the address that was bound.
    pub(crate) public_url: Option<Url>,
    pub(crate) pods: u32,
    pub(crate) redis: Vec<String>,
    /// Empty stands for two SQLite files in a temporary directory.
    pub(crate) shards: Vec<ShardSpec>,
    pub(crate) events: Events,
    /// `None` stands for the simulator.
    pub(crate) payments: Option<Url>,
    pub(crate) pool_max: u32,
    pub(crate) processes: u32,
    pub(crate) naming: Naming,
    /// `None` stands for a key made for this process.
    pub(crate) key_ring: Option<KeyFile>,
}

/// Why there are no settings.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The user asked for `--help` or `--version`.
    Help(String),
    /// A value cannot work.
    Usage(String),
}

impl Settings {
    /// Reads the command line.
    pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Self, Refused> {
        let arguments = Arguments::try_parse_from(args).map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Refused::Help(error.to_string()),
            _ => Refused::Usage(one_line(&error.to_string())),
        })?;
        Self::check(arguments).map_err(Refused::Usage)
    }

    fn check(arguments: Arguments) -> Result<Self, String> {
        let listen = address(&arguments.listen).ok_or_else(|| {
            format!("--listen: {:?} is not an address such as 127.0.0.1:8080", arguments.listen)
        })?;
        let public_url = arguments.public_url.as_deref().map(urls::public).transpose()?;
        if public_url.is_none() && !listen.ip().is_loopback() {
            return Err(format!(
                "--listen {listen} is not a loopback address: say by --public-url what browsers call this service"
            ));
        }
        let settings = Self {
            listen,
            public_url,
            pods: arguments.pods,
            events: urls::events(&arguments.events, !arguments.redis.is_empty())?,
            redis: urls::redis(arguments.redis)?,
            shards: shard::parse_all(&arguments.shard)?,
            payments: arguments.payments.as_deref().map(urls::payments).transpose()?,
            pool_max: arguments.pool_max,
            processes: arguments.processes,
            naming: naming(&arguments.naming)?,
            key_ring: arguments.key_ring.as_deref().map(KeyFile::open).transpose()?,
        };
        Ok(settings)
    }
}

fn naming(text: &str) -> Result<Naming, String> {
    match text {
        "semconv" => Ok(Naming::Semconv),
        "classic" => Ok(Naming::Classic),
        _ => Err(format!("--naming: {text:?} is neither semconv nor classic")),
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    text.to_socket_addrs().ok()?.next()
}

/// The reason alone: clap adds hints and the usage in paragraphs below.
fn one_line(text: &str) -> String {
    let reason = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = reason.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests;
