//! What a session costs a request: round trips, bytes and commands, the server's CPU; and what parallel requests lose.

mod asked;
mod load;
mod lost;
mod ours;
mod slope;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{Router, routing::get};
use http::Request;
use scalekit_testkit::{Proxy, Redis};

use crate::app;

/// What a session holds beside a counter: about 1 KB.
pub const PROFILE_BYTES: usize = 1_000;
/// Clients that change one session at once; each has a key of its own in it.
pub const KEYS: [&str; 8] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"];

/// What every service has:
///
/// - `POST /guest` writes to a new session, `POST /sign-in` takes over whatever session there is and writes the profile;
/// - `GET /untouched`, `/read`, `/write`, `/change` and `/count` do what they say to the session;
/// - `GET /all/{client}/{round}` counts up, writes the round to the client's own key and appends to a list;
/// - `GET /state` tells the count, the length of the list, and the keys in their order, with spaces between.
#[derive(Debug)]
pub struct Service {
    /// Its name in the tables.
    pub name: &'static str,
    /// Its routes.
    pub app: Router,
    /// Whether it is what the figures are to hold for.
    pub ours: bool,
}

/// A way to make a service whose sessions are in the Redis at an address.
pub trait Make {
    /// What the process that serves it is told.
    fn word(&self) -> &'static str;
    /// The service.
    fn make(&self, redis: SocketAddr) -> impl Future<Output = Service>;
}

/// Ours.
#[derive(Clone, Copy, Debug)]
pub struct Scalekit;

impl Make for Scalekit {
    fn word(&self) -> &'static str {
        "scalekit"
    }

    async fn make(&self, redis: SocketAddr) -> Service {
        Service { name: "scalekit (sliding)", app: ours::app(redis), ours: true }
    }
}

/// A route without any session.
pub fn bare() -> Service {
    let app = Router::new().route("/untouched", get(|| async { "hello" }));
    Service { name: "bare handler", app, ours: false }
}

/// Whether this process was started to serve, by [`run`] in another one; if so it does, until that kills it.
pub fn served<M: Make>(all: &[M]) -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [serve, word, redis] = arguments.as_slice() else { return false };
    if serve != load::SERVE {
        return false;
    }
    let redis = redis.parse().unwrap();
    match all.iter().find(|one| one.word() == word) {
        Some(one) => load::serve(one.make(redis)),
        None => load::serve(async { bare() }),
    }
    true
}

/// Every table, for these services; the second one is what the CPU of the others is compared with.
pub async fn run<M: Make>(all: &[M]) {
    let redis = Redis::start().await;
    let proxy = Proxy::to(redis.addr()).await;
    let mut services = Vec::new();
    for one in all {
        services.push(one.make(proxy.addr()).await);
    }
    asked::count(&redis, &proxy, &services).await;
    slope::fit(&proxy, &services).await;
    lost::count(redis.addr(), all).await;
    let words: Vec<_> = all.iter().zip(&services).map(|(one, service)| (one.word(), service.name)).collect();
    load::measure(&redis, &words).await;
}

/// The text of `GET /state`.
pub fn told(state: &[i64]) -> String {
    state.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}

/// A text that no request before has written: what is there already, some peers do not write.
pub fn fresh() -> String {
    static WRITTEN: AtomicU64 = AtomicU64::new(1_000_000);
    format!("note {}", WRITTEN.fetch_add(1, Ordering::Relaxed))
}

/// Keeps the last ten: what `GET /change` does to a list in one field.
pub fn keep_ten(recent: &mut Vec<u32>) {
    recent.push(recent.last().map_or(1, |last| last + 1));
    if recent.len() > 10 {
        recent.remove(0);
    }
}

/// The cookie of a session that `POST` to a path begins; with a cookie, that one's session is taken over.
async fn begin(service: &Service, path: &str, cookie: Option<&str>) -> String {
    let mut request = Request::post(path);
    if let Some(cookie) = cookie {
        request = request.header(http::header::COOKIE, cookie);
    }
    let answer = app::send(&mut service.app.clone(), request.body(axum::body::Body::empty()).unwrap()).await;
    assert!(answer.head.status.is_success(), "{}: {:?}", service.name, answer.head);
    app::cookie(&answer)
}
