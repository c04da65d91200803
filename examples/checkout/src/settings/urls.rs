//! The addresses on the command line: which schemes are built in, and what is asked of them.

use std::net::IpAddr;

use reqwest::Url;

/// What carries events from the outbox to consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Events {
    /// The consumer in this process.
    Memory,
    /// The streams of the Redis that `--redis` names.
    Redis,
}

/// The value of `--events`.
pub(super) fn events(text: &str, has_redis: bool) -> Result<Events, String> {
    match text {
        "memory" => Ok(Events::Memory),
        "redis" if has_redis => Ok(Events::Redis),
        "redis" => Err("--events redis needs --redis URL".into()),
        _ if text.starts_with("kafka:") => Err("--events: Kafka is not built in".into()),
        _ if text.starts_with("nats:") => Err("--events: NATS is not built in".into()),
        _ => Err(format!("--events: {text:?} is none of memory, redis")),
    }
}

/// The values of `--redis`. They may hold a password, so no message repeats them.
pub(super) fn redis(urls: Vec<String>) -> Result<Vec<String>, String> {
    for text in &urls {
        let url = Url::parse(text).map_err(|error| format!("--redis: not a URL ({error})"))?;
        match url.scheme() {
            "redis" if url.has_host() => {}
            "redis" => return Err("--redis: the URL names no host".into()),
            "rediss" => return Err("--redis: TLS (rediss://) is not built in".into()),
            other => return Err(format!("--redis: the scheme is {other:?}, not redis")),
        }
    }
    Ok(urls)
}

/// The value of `--payments`.
pub(super) fn payments(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("--payments: not a URL ({error})"))?;
    match url.scheme() {
        "http" => {}
        "https" => return Err("--payments: TLS (https://) is not built in".into()),
        other => return Err(format!("--payments: the scheme is {other:?}, not http")),
    }
    if !url.path().ends_with('/') {
        // So that `charges` is joined below the path, not in place of its last segment.
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// The value of `--public-url`.
pub(super) fn public(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("--public-url: {text:?} is not a URL ({error})"))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(format!(
            "--public-url: {text} would send the session cookie in the clear; use https, or a loopback host"
        )),
        other => Err(format!("--public-url: the scheme is {other:?}, not https or http")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
