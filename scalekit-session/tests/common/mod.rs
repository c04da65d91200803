//! A small shop to attack, and browsers with one cookie each.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part, and fails by a panic"
)]

pub mod hooked;
pub mod slow;

use std::time::Duration;

use axum::{
    Json, Router,
    body::Body,
    extract::Path,
    http::{HeaderMap, Request, StatusCode, header},
    routing::{get, post},
};
use http_body_util::BodyExt;
use scalekit_core::{
    KeyRing, Principal, Result,
    http::principal_layer,
    redis::{Redis, RedisConfig, cmd},
};
use scalekit_session::{
    Cookie, Counter, CounterMap, Current, Field, MemoryStore, RedisStore, Session, Sessions, SessionsBuilder,
};
use scalekit_testkit::RedisServer;
use serde_json::{Value, json};
use tower::ServiceExt;

pub const VIEWS: Counter = Counter::new("views");
pub const CART: CounterMap = CounterMap::new("cart").dropping_empty();
pub const NOTES: Field<Vec<String>> = Field::new("notes");
pub const LOCALE: Field<String> = Field::new("locale");

/// Longer than any pause of a busy machine.
pub const LONG: Duration = Duration::from_secs(20);

pub fn ring() -> KeyRing {
    KeyRing::from_keys([("test", [7; 32])]).unwrap()
}

/// A handle whose budget does not run out on a busy machine.
pub fn patient(url: &str) -> Redis {
    let config = RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG);
    Redis::open_with(&[url], config).unwrap()
}

pub fn on_memory() -> Sessions {
    with(Sessions::builder(MemoryStore::new(), ring()))
}

pub fn on_redis(url: &str) -> Sessions {
    with(Sessions::builder(RedisStore::new(patient(url)), ring()))
}

pub fn with(builder: SessionsBuilder) -> Sessions {
    let builder = builder.namespace("shop").cookie(Cookie::dev("id")).request_budget(LONG);
    // Commands are counted, and keys: tests/ring.rs has what this is about.
    builder.compare_rings(false).build().unwrap()
}

pub async fn redis() -> RedisServer {
    scalekit_testkit::Redis::start().await
}

/// All keys but those that open nothing: marks of ended sessions, former keys, and guests' whose content a sign-in has
/// taken over. Looked at in one moment.
pub async fn live_keys(server: &RedisServer) -> Vec<String> {
    const LIVE: &str = "local live = {} \
        for _, key in ipairs(redis.call('KEYS', '*')) do \
            local about = string.find(key, ':s:') and redis.call('HMGET', key, '!a', '!r') \
            if not about or (about[1] and not about[2]) then live[#live + 1] = key end \
        end \
        return live";
    patient(&server.url()).query(cmd("EVAL").arg(LIVE).arg(0)).await.unwrap()
}

pub fn shop(sessions: &Sessions) -> Router {
    let private = Router::new()
        .route("/me", get(|me: Principal| async move { Json(json!([me.tenant_id(), me.id()])) }))
        .route_layer(principal_layer(sessions.principal()));
    Router::new()
        .route("/static", get(|| async { "static" }))
        .route("/extracts", get(|_: Session| async { "extracted" }))
        .route("/all", get(all))
        .route("/views", post(|s: Session| async move { s.incr(VIEWS, 1) }))
        .route(
            "/cart/{sku}/{by}",
            post(async |s: Session, Path((sku, by)): Path<(String, i64)>| s.add(CART, &sku, by)),
        )
        .route("/locale/{to}", post(async |s: Session, Path(to): Path<String>| s.set(LOCALE, &to)))
        .route("/field/{name}", post(set_numbered))
        .route("/note/{text}", post(note))
        .route("/sign-in/{tenant}/{user}", post(sign_in))
        .route("/sign-out", post(async |s: Session| s.sign_out().await))
        .route("/sessions", get(siblings))
        .route(
            "/revoke/others",
            post(async |s: Session| {
                Ok::<_, scalekit_core::Error>(s.revoke_all(Current::Kept).await?.to_string())
            }),
        )
        .route(
            "/revoke/all",
            post(async |s: Session| {
                Ok::<_, scalekit_core::Error>(s.revoke_all(Current::Included).await?.to_string())
            }),
        )
        .route("/fails/{user}", post(fails))
        .route(
            "/panics",
            post(async |s: Session| -> Result<()> {
                s.incr(VIEWS, 1)?;
                panic!("the handler panics")
            }),
        )
        .merge(private)
        .layer(sessions.layer())
}

async fn all(session: Session) -> Result<Json<Value>> {
    let user = session.user().await?.map(|user| json!([user.tenant_id(), user.id()]));
    Ok(Json(json!({
        "views": session.counter(VIEWS).await?,
        "cart": session.counter_map(CART).await?,
        "notes": session.get(NOTES).await?.unwrap_or_default(),
        "locale": session.get(LOCALE).await?,
        "user": user,
        "lineage": session.lineage().await?,
    })))
}

async fn note(session: Session, Path(text): Path<String>) -> Result<Json<usize>> {
    let notes = session.update(NOTES, move |notes| notes.push(text.clone())).await?;
    Ok(Json(notes.len()))
}

/// One of eight fields, so that clients can write disjoint ones.
async fn set_numbered(session: Session, Path(number): Path<usize>, body: String) -> Result<()> {
    session.set(numbered(number), &body)
}

pub fn numbered(number: usize) -> Field<String> {
    const NAMES: [&str; 8] = ["f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7"];
    Field::new(NAMES[number])
}

async fn sign_in(
    session: Session,
    Path((tenant, user)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    let device = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("none");
    session.sign_in(&Principal::user(user).tenant(tenant), device).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn siblings(session: Session) -> Result<Json<Value>> {
    let all = session.siblings().await?;
    let shown = all.iter().map(|one| json!({"id": one.id, "device": one.device, "current": one.current}));
    Ok(Json(shown.collect()))
}

async fn fails(session: Session, Path(user): Path<String>) -> Result<StatusCode> {
    session.incr(VIEWS, 100)?;
    session.sign_in(&Principal::user(user), "failing").await?;
    Ok(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn cookies(&self) -> Vec<String> {
        self.headers.get_all(header::SET_COOKIE).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
    }
}

/// A client that keeps the cookie it is given. A clone is another tab: it starts with the same cookie.
#[derive(Clone)]
pub struct Browser {
    app: Router,
    pub cookie: Option<String>,
    pub agent: &'static str,
}

impl Browser {
    pub fn new(app: &Router) -> Self {
        Self { app: app.clone(), cookie: None, agent: "test" }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub async fn post(&mut self, path: &str) -> Answer {
        self.send("POST", path, "").await
    }

    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let answer = self.send_only(method, path, body).await;
        self.keep(&answer);
        answer
    }

    /// Does not look at the cookies of the answer: a tab whose response comes late.
    pub async fn send_only(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(header::USER_AGENT, self.agent);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, format!("theme=dark; {cookie}; other=1"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub fn keep(&mut self, answer: &Answer) {
        for cookie in answer.cookies() {
            let pair = cookie.split(';').next().unwrap().to_owned();
            self.cookie = (!cookie.contains("Max-Age=0")).then_some(pair);
        }
    }

    pub fn on(&self, app: &Router) -> Self {
        Self { app: app.clone(), ..self.clone() }
    }
}

/// A browser that is signed in.
pub async fn signed_in(app: &Router, tenant: &str, user: &str) -> Browser {
    let mut browser = Browser::new(app);
    let answer = browser.post(&format!("/sign-in/{tenant}/{user}")).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    browser
}
