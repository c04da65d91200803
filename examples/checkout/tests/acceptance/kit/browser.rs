//! A client that keeps its cookie as a browser does.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, Method, RequestBuilder, StatusCode,
    header::{CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE},
};
use serde_json::{Value, json};

/// One device of one user.
pub(crate) struct Browser {
    url: String,
    http: Client,
    cookie: Mutex<Option<String>>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// A key that nobody has used.
pub(crate) fn key() -> String {
    uuid::Uuid::now_v7().to_string()
}

impl Browser {
    /// Nobody has signed in yet.
    pub(crate) fn new(url: &str) -> Self {
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Self { url: url.to_owned(), http, cookie: Mutex::default() }
    }

    /// A browser in which this user has signed in.
    pub(crate) async fn of(url: &str, tenant: &str, user: &str) -> Self {
        let browser = Self::new(url);
        let start = tokio::time::Instant::now();
        loop {
            let answer = browser.sign_in(tenant, user).await.unwrap();
            if answer.status == 204 {
                assert!(browser.cookie().is_some(), "no cookie in {answer:?}");
                return browser;
            }
            // A busy machine may leave it undecided; it can be repeated.
            answer.assert_unavailable();
            assert!(start.elapsed() < super::SOON, "{answer:?}");
        }
    }

    pub(crate) async fn sign_in(&self, tenant: &str, user: &str) -> Result<Answer, String> {
        self.send(self.post("/session", &json!({"tenant": tenant, "user": user}))).await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn add(&self, sku: &str, quantity: i64) -> Result<Answer, String> {
        self.send(self.post("/cart/items", &json!({"sku": sku, "quantity": quantity}))).await
    }

    pub(crate) async fn checkout(&self, key: &str, token: &str) -> Result<Answer, String> {
        let request = self.post("/checkout", &json!({"payment_token": token}));
        self.send(request.header("idempotency-key", key)).await
    }

    /// Puts so many into the cart that so many are there. A busy machine may leave an addition undecided; this asks.
    ///
    /// Panics if they are not there after 30 s.
    pub(crate) async fn fill(&self, sku: &str, quantity: i64) {
        let start = tokio::time::Instant::now();
        while start.elapsed() < super::SOON {
            let cart = self.cart().await;
            let there = cart.iter().find(|line| line.0 == sku).map_or(0, |line| line.1);
            if there == quantity {
                return;
            }
            let added = self.add(sku, quantity - there).await.unwrap();
            if added.status != 204 {
                added.assert_unavailable();
            }
        }
        panic!("{quantity} {sku} do not get into the cart");
    }

    /// Checks out as a client must: as long as nobody knows, or the answer says when to come again, with the same key.
    ///
    /// Panics if there is no decision after 30 s.
    pub(crate) async fn checkout_until_decided(&self, key: &str, token: &str) -> Answer {
        let start = tokio::time::Instant::now();
        let mut last = None;
        while start.elapsed() < super::SOON {
            match self.checkout(key, token).await {
                Ok(answer) if answer.is_decided() => return answer,
                other => last = Some(other),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("checkout {key} is not decided: {last:?}");
    }

    /// The cart as `(sku, quantity)`, by sku.
    pub(crate) async fn cart(&self) -> Vec<(String, i64)> {
        self.look("/cart").await.lines()
    }

    /// The answer to a GET, asked again where a busy machine was too slow.
    pub(crate) async fn look(&self, path: &str) -> Answer {
        let start = tokio::time::Instant::now();
        loop {
            let answer = self.get(path).await.unwrap();
            if answer.status != 503 || start.elapsed() > super::SOON {
                return answer;
            }
            answer.assert_unavailable();
        }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body.to_string())
    }

    /// A request with the cookie.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match self.cookie() {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    /// Sends a request of this browser's; `Err` where there was no whole answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Answer, String> {
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let (status, headers) = (response.status(), response.headers().clone());
        for value in headers.get_all(SET_COOKIE) {
            self.keep(value.to_str().unwrap());
        }
        let body = response.text().await.map_err(|error| format!("{error:?}"))?;
        Ok(Answer { status, headers, body })
    }

    /// `name=value`, as it is sent.
    pub(crate) fn cookie(&self) -> Option<String> {
        self.cookie.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same session in a client of another process's address.
    pub(crate) fn at(&self, url: &str) -> Self {
        let other = Self::new(url);
        *other.cookie.lock().unwrap_or_else(PoisonError::into_inner) = self.cookie();
        other
    }

    fn keep(&self, set_cookie: &str) {
        let (pair, attributes) = set_cookie.split_once(';').unwrap_or((set_cookie, ""));
        let removed = attributes.to_ascii_lowercase().contains("max-age=0") || pair.ends_with('=');
        let kept = (!removed).then(|| pair.trim().to_owned());
        *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The last part of the problem's type, such as `cart-empty`; panics if this is no problem with a matching status.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{self:?}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{self:?}");
        let kind = problem["type"].as_str().unwrap_or_else(|| panic!("no type in {self:?}"));
        kind.rsplit(['/', ':']).next().unwrap_or_default().to_owned()
    }

    /// Whole seconds.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        let value = self.header("retry-after")?;
        Some(value.parse().unwrap_or_else(|_| panic!("Retry-After {value:?} is no number of seconds")))
    }

    /// An outage as it has to look: a problem that says when to come again.
    pub(crate) fn assert_unavailable(&self) {
        assert_eq!(self.status, 503, "{self:?}");
        self.problem();
        assert!(self.retry_after().is_some(), "no Retry-After in {self:?}");
    }

    /// The items of a cart or an order as `(sku, quantity)`, by sku.
    pub(crate) fn lines(&self) -> Vec<(String, i64)> {
        assert!(self.status.is_success(), "{self:?}");
        lines_of(&self.json())
    }

    pub(crate) fn order_id(&self) -> String {
        assert_eq!(self.status, 201, "{self:?}");
        self.json()["order_id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn is_decided(&self) -> bool {
        let again = self.status == 409 && self.retry_after().is_some();
        !again && !self.status.is_server_error()
    }
}

fn lines_of(value: &Value) -> Vec<(String, i64)> {
    let line = |item: &Value| (item["sku"].as_str().unwrap().to_owned(), item["quantity"].as_i64().unwrap());
    let mut lines: Vec<_> = value["items"].as_array().unwrap().iter().map(line).collect();
    lines.sort_unstable();
    lines
}
