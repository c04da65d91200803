//! What a session costs a request: round trips to Redis, bytes, CPU.

use std::net::SocketAddr;

use axum::{
    Router,
    routing::{get, post},
};
use http::{Request, header};
use scalekit::{
    KeyRing, Principal,
    redis::Redis,
    session::{Counter, Field, RedisStore, Session, Sessions},
};
use scalekit_testkit::{Proxy, RedisServer};

use crate::{
    app::{self, Answer},
    duel::{Case, Duel, Meter, table},
};

/// What a session holds beside a counter: about 1 KB.
pub const PROFILE_BYTES: usize = 1_000;

/// What a request does with its session; each is a route.
pub const USES: [(&str, &str); 3] = [
    ("/untouched", "handler ignores its session"),
    ("/read", "handler reads"),
    ("/count", "handler counts up"),
];

const PROFILE: Field<String> = Field::new("profile");
const VISITS: Counter = Counter::new("visits");

/// A service whose sessions are in a Redis.
#[derive(Debug)]
pub struct Service {
    /// Its name in the tables.
    pub name: &'static str,
    /// `POST /sign-in`, and the routes of [`USES`].
    pub app: Router,
}

/// Ours, with its sessions at this address.
pub fn scalekit(redis: SocketAddr) -> Service {
    let redis = Redis::open(&format!("redis://{redis}")).unwrap();
    let sessions = Sessions::builder(RedisStore::new(redis), KeyRing::generate().unwrap()).build().unwrap();
    let app = Router::new()
        .route("/sign-in", post(sign_in))
        .route("/untouched", get(|| async { "hello" }))
        .route("/read", get(read))
        .route("/count", get(count))
        .layer(sessions.layer());
    Service { name: "scalekit (sliding)", app }
}

/// A route without any session.
pub fn bare() -> Service {
    let app = Router::new().route("/untouched", get(|| async { "hello" }));
    Service { name: "no session layer", app }
}

/// Counts what one request costs, for each use of the session and each service behind the proxy.
pub async fn count_round_trips(proxy: &Proxy, services: &[Service]) {
    const REQUESTS: u64 = 20;
    let mut rows = Vec::new();
    for (path, what) in USES {
        for service in services {
            let (mut app, make) = (service.app.clone(), app::get(path, Some(signed_in(service).await)));
            // Once before: a script is loaded, a connection opened.
            app::send(&mut app, make()).await;
            proxy.reset();
            let mut cookies = 0;
            for _ in 0..REQUESTS {
                let answer = app::send(&mut app, make()).await;
                assert!(answer.head.status.is_success(), "{}: {:?}", service.name, answer.head);
                cookies += u64::from(answer.head.headers.contains_key(header::SET_COOKIE));
            }
            let each = |count: u64| format!("{:.1}", count as f64 / REQUESTS as f64);
            rows.push(vec![
                what.to_owned(),
                service.name.to_owned(),
                format!("**{}**", each(proxy.round_trips())),
                each(proxy.bytes_up()),
                each(proxy.bytes_down()),
                each(cookies),
            ]);
        }
    }
    let title = "What a request with a session of 1 KB asks of Redis";
    table(title, &["", "", "round trips", "bytes to Redis", "bytes from Redis", "Set-Cookie"], &rows);
}

/// Measures a request's CPU for each use of the session, directly against Redis.
pub async fn measure(redis: &RedisServer, services: &[Service]) {
    // Whatever the counting left behind.
    redis.flushall().await;
    for (path, title, per_round) in [
        ("/untouched", "Session that the handler ignores: CPU per request", 1_000),
        ("/read", "Session that the handler reads: CPU per request", 200),
        ("/count", "Session that the handler counts up in: CPU per request", 200),
    ] {
        let mut cases = Vec::new();
        if path == "/untouched" {
            cases.push(app::one_by_one(bare().name, bare().app, app::get(path, None)));
        }
        for service in services {
            cases.push(case(service, path).await);
        }
        Duel { title, unit: "request", meter: Meter::Cpu, rounds: 30, per_round }.run(cases).await;
    }
}

async fn case(service: &Service, path: &'static str) -> Case {
    app::one_by_one(service.name, service.app.clone(), app::get(path, Some(signed_in(service).await)))
}

/// The cookie of a new session.
async fn signed_in(service: &Service) -> String {
    let request = Request::post("/sign-in").body(axum::body::Body::empty()).unwrap();
    let answer: Answer = app::send(&mut service.app.clone(), request).await;
    assert!(answer.head.status.is_success(), "{}: {:?}", service.name, answer.head);
    app::cookie(&answer)
}

async fn sign_in(session: Session) -> scalekit::Result<()> {
    session.sign_in(&Principal::user("ada").tenant("acme"), "bench").await?;
    session.set(PROFILE, &"x".repeat(PROFILE_BYTES))
}

async fn read(session: Session) -> scalekit::Result<String> {
    session
        .get(PROFILE)
        .await?
        .ok_or_else(|| scalekit::Error::new(scalekit::ErrorKind::Corrupt, "no profile"))
}

async fn count(session: Session) -> scalekit::Result<()> {
    session.incr(VISITS, 1)
}
