//! A client that keeps its cookie, as browsers do.

use std::{sync::Mutex, time::Duration};

use reqwest::{Client, Method, RequestBuilder, StatusCode, header::HeaderMap};
use scalekit_testkit::wait_until;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How long a loaded machine is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a payment may take to be marked.
const MARKED_WITHIN: Duration = Duration::from_secs(60);

pub(crate) struct Browser {
    http: Client,
    url: String,
    cookie: Mutex<Option<String>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Browser {
    pub(crate) fn at(url: &str) -> Self {
        let http = Client::builder().no_proxy().build().unwrap();
        Self { http, url: url.to_owned(), cookie: Mutex::default() }
    }

    /// The same visitor at another process of the shop.
    pub(crate) fn moved_to(&self, url: &str) -> Self {
        let moved = Self::at(url);
        *moved.cookie.lock().unwrap() = self.cookie.lock().unwrap().clone();
        moved
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match self.cookie.lock().unwrap().as_deref() {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    /// `None` if the connection ended without an answer.
    pub(crate) async fn try_send(&self, request: RequestBuilder) -> Option<Answer> {
        let response = request.send().await.ok()?;
        if let Some(set) = response.headers().get("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            *self.cookie.lock().unwrap() = (!pair.ends_with('=')).then_some(pair);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        Some(Answer { status, headers, text: response.text().await.ok()? })
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.expect("no answer")
    }

    /// Sends what may be sent twice, until no answer says to come back: neither a loaded machine nor a pod that was killed
    /// is a failure of the shop.
    pub(crate) async fn patiently(&self, request: impl Fn() -> RequestBuilder) -> Option<Answer> {
        let last = Instant::now() + PATIENCE;
        loop {
            let answer = self.try_send(request()).await?;
            if !answer.says_to_come_back() || Instant::now() > last {
                return Some(answer);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// `GET`, whatever is answered.
    pub(crate) async fn get_once(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.patiently(|| self.request(Method::GET, path)).await.expect("no answer")
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.patiently(|| self.request(Method::DELETE, path)).await.expect("no answer")
    }

    pub(crate) async fn sign_in(&self, tenant: &str, user: &str) {
        let who = json!({"tenant": tenant, "user": user});
        let answer = self.patiently(|| self.request(Method::POST, "/session").json(&who)).await;
        assert_eq!(answer.as_ref().map(|answer| answer.status.as_u16()), Some(204), "{answer:?}");
    }

    pub(crate) async fn add(&self, sku: &str, quantity: i64) {
        let before = self.quantity(sku).await;
        loop {
            let answer = self.post("/cart/items", &json!({"sku": sku, "quantity": quantity})).await;
            if answer.status == 204 {
                return;
            }
            // Not known whether it arrived: look before adding once more.
            assert!(answer.says_to_come_back(), "{answer:?}");
            sleep(Duration::from_secs(1)).await;
            if self.quantity(sku).await == before + quantity {
                return;
            }
        }
    }

    async fn quantity(&self, sku: &str) -> i64 {
        let cart = self.cart().await;
        let line = cart.as_array().unwrap().iter().find(|line| line["sku"] == sku);
        line.map_or(0, |line| line["quantity"].as_i64().unwrap())
    }

    pub(crate) fn checkout_request(&self, key: &str, token: &str) -> RequestBuilder {
        let request = self.request(Method::POST, "/checkout").header("idempotency-key", format!("\"{key}\""));
        request.json(&json!({"payment_token": token}))
    }

    pub(crate) async fn checkout(&self, key: &str, token: &str) -> Answer {
        self.patiently(|| self.checkout_request(key, token)).await.expect("no answer")
    }

    pub(crate) async fn cart(&self) -> Value {
        self.get("/cart").await.json()["items"].clone()
    }

    pub(crate) async fn orders(&self) -> Vec<Value> {
        self.get("/orders").await.json()["orders"].as_array().unwrap().clone()
    }

    /// Waits until an order of this user has left the state `placed`, and returns what it became.
    pub(crate) async fn settled(&self, order_id: &str) -> String {
        let path = format!("/orders/{order_id}");
        let status = || async {
            let answer = self.get(&path).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            answer.json()["status"].as_str().map(str::to_owned)
        };
        wait_until("the order is marked", MARKED_WITHIN, || async {
            matches!(status().await.as_deref(), Some("paid" | "declined"))
        })
        .await;
        status().await.unwrap()
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Whether the shop could not answer now, or the pod that had the request was killed.
    fn says_to_come_back(&self) -> bool {
        self.status == 502 || self.status == 503 && self.header("retry-after").is_some()
    }

    /// Asserts that it is a problem of this status and kind.
    pub(crate) fn is_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self:?}");
        assert!(problem["type"].as_str().unwrap().ends_with(&format!("/{kind}")), "{self:?}");
    }

    pub(crate) fn order_id(&self) -> String {
        assert_eq!(self.status, 201, "{self:?}");
        self.json()["order_id"].as_str().unwrap().to_owned()
    }
}
