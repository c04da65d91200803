//! A browser: keeps the cookies it is given, and asks another node each time.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum_core::body::Body;
use bytes::BytesMut;
use cookie::Cookie;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use scalekit_core::http::Request;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    answer::Answer,
    fleet::{Fleet, Held, Node},
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest body that is read.
const MAX_BODY: usize = 4 << 20;

/// Cookies by name. `Path` and `Domain` are not looked at: the nodes are one site.
pub(super) type Jar = BTreeMap<String, String>;

pub(super) struct Browser {
    pub(super) fleet: Arc<Fleet>,
    /// How many requests of all browsers are under way.
    at_once: Arc<Semaphore>,
    turn: AtomicUsize,
    jar: Mutex<Jar>,
}

/// A request that was sent, and what came of it.
pub(super) struct Sent {
    pub(super) node: Node,
    /// Method and path; a query may hold secrets.
    pub(super) request: String,
    pub(super) answer: Result<Answer, NoAnswer>,
}

/// Why there is no answer.
#[derive(Clone, Copy)]
pub(super) enum NoAnswer {
    Panicked,
    TooLate,
    BrokenBody,
}

impl Browser {
    pub(super) fn new(fleet: Arc<Fleet>, at_once: Arc<Semaphore>, first_turn: usize) -> Self {
        Self { fleet, at_once, turn: AtomicUsize::new(first_turn), jar: Mutex::default() }
    }

    /// Sends a request to the live node whose turn it is, and keeps the cookies of the answer as it arrives.
    pub(super) async fn send(&self, request: Request) -> Sent {
        let _permit = self.at_once.acquire().await;
        let held = self.fleet.at(self.turn.fetch_add(1, Ordering::Relaxed)).await;
        let mut sent = ask(held, request, &self.cookies()).await;
        if let Ok(answer) = &mut sent.answer {
            keep(&mut self.jar.lock().unwrap_or_else(PoisonError::into_inner), &answer.headers);
            answer.headers.remove(header::SET_COOKIE);
        }
        sent
    }

    /// Asks one node with these cookies, and forgets those of the answer. `None` if the instance is gone.
    pub(super) async fn probe(&self, node: Node, request: Request, jar: &Jar) -> Option<Sent> {
        let _permit = self.at_once.acquire().await;
        Some(ask(self.fleet.instance(node)?, request, jar).await)
    }

    pub(super) fn cookies(&self) -> Jar {
        self.jar.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn ask(held: Held, mut request: Request, jar: &Jar) -> Sent {
    if !jar.is_empty() {
        let pairs: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if let Ok(value) = HeaderValue::try_from(pairs.join("; ")) {
            request.headers_mut().insert(header::COOKIE, value);
        }
    }
    let node = held.node();
    let text = format!("{} {}", request.method(), request.uri().path());
    // A server that catches a handler's panic drops its connection; here it must not take the test with it.
    let answering = AssertUnwindSafe(async { answer(&held, request).await }).catch_unwind();
    let answer = match timeout(PATIENCE, answering).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_panic)) => Err(NoAnswer::Panicked),
        Err(_elapsed) => Err(NoAnswer::TooLate),
    };
    Sent { node, request: text, answer }
}

async fn answer(held: &Held, request: Request) -> Result<Answer, NoAnswer> {
    let (parts, body) = held.call(request).await.into_parts();
    Ok(Answer { status: parts.status, headers: parts.headers, body: whole(body).await?.freeze() })
}

async fn whole(body: Body) -> Result<BytesMut, NoAnswer> {
    let (mut stream, mut whole) = (body.into_data_stream(), BytesMut::new());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| NoAnswer::BrokenBody)?;
        if whole.len() + chunk.len() > MAX_BODY {
            return Err(NoAnswer::BrokenBody);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

/// Sets and removes cookies as a browser does.
fn keep(jar: &mut Jar, headers: &HeaderMap) {
    for text in headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
        let Ok(cookie) = Cookie::parse(text) else { continue };
        if is_over(&cookie) {
            jar.remove(cookie.name());
        } else {
            jar.insert(cookie.name().to_owned(), cookie.value().to_owned());
        }
    }
}

/// `Max-Age` goes before `Expires`.
fn is_over(cookie: &Cookie<'_>) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    match (cookie.max_age(), cookie.expires_datetime()) {
        (Some(age), _) => age.whole_seconds() <= 0,
        (None, Some(at)) => {
            u64::try_from(at.unix_timestamp()).is_ok_and(|at| at <= now) || at.unix_timestamp() < 0
        }
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_set_replaced_and_removed() {
        let mut jar = Jar::new();
        let mut given = |text: &'static str| {
            keep(&mut jar, &HeaderMap::from_iter([(header::SET_COOKIE, HeaderValue::from_static(text))]));
            jar.clone()
        };
        given("theme=dark; Path=/");
        given("id=1; HttpOnly; Secure");
        let both = Jar::from([("id".into(), "2".into()), ("theme".into(), "dark".into())]);
        assert_eq!(given("id=2; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), both);
        assert_eq!(given("id=; Expires=Thu, 01 Jan 1970 00:00:00 GMT").len(), 1);
        assert_eq!(given("theme=; Max-Age=0"), Jar::new());
    }
}
