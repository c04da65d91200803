//! A payment provider for demos: it charges a key once, and declines the token `tok_declined`.
//!
//! It belongs to the process and not to a pod: a real provider survives our pods as well.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use reqwest::Url;
use serde::Deserialize;
use tokio::{net::TcpListener, task::AbortHandle};

/// How many keys it remembers, and how long one may be.
const KEYS: usize = 500_000;
const KEY_MAX: usize = 255;
/// The token of a card that has no money.
const DECLINED: &str = "tok_declined";

/// The provider; it stops when this value is dropped.
#[derive(Debug)]
pub(crate) struct Simulator {
    url: Url,
    task: AbortHandle,
}

#[derive(Default)]
struct Ledger {
    charges: HashMap<String, Charge>,
    oldest_first: VecDeque<String>,
}

#[derive(Clone, Deserialize, PartialEq)]
struct Charge {
    order_id: String,
    amount_cents: i64,
    payment_token: String,
}

impl Simulator {
    /// Serves on a free loopback port, on a task of the current runtime.
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = format!("http://{}/", listener.local_addr()?);
        let url = Url::parse(&address).map_err(std::io::Error::other)?;
        let router = Router::new().route("/charges", post(charge)).with_state(Arc::default());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the payment simulator failed");
            }
        });
        Ok(Self { url, task: task.abort_handle() })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn charge(
    State(ledger): State<Arc<Mutex<Ledger>>>,
    headers: HeaderMap,
    Json(charge): Json<Charge>,
) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    let Some(key) = key.filter(|key| (1..=KEY_MAX).contains(&key.len())) else {
        return StatusCode::BAD_REQUEST;
    };
    if charge.order_id.is_empty() || charge.amount_cents <= 0 {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    match ledger.charges.get(key) {
        Some(first) if *first != charge => StatusCode::UNPROCESSABLE_ENTITY,
        Some(first) => first.answer(StatusCode::OK),
        None => {
            let answer = charge.answer(StatusCode::CREATED);
            ledger.remember(key, charge);
            answer
        }
    }
}

impl Charge {
    fn answer(&self, charged: StatusCode) -> StatusCode {
        if self.payment_token == DECLINED { StatusCode::PAYMENT_REQUIRED } else { charged }
    }
}

impl Ledger {
    fn remember(&mut self, key: &str, charge: Charge) {
        if self.oldest_first.len() >= KEYS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.charges.remove(&oldest);
        }
        self.oldest_first.push_back(key.to_owned());
        self.charges.insert(key.to_owned(), charge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payments::{Charge as Order, Charged, Payments};
    use uuid::Uuid;

    async fn post(url: &Url, key: Option<&str>, amount: i64, token: &str) -> u16 {
        let body = serde_json::json!({"order_id": "o1", "amount_cents": amount, "payment_token": token});
        let mut request = reqwest::Client::new().post(url.join("charges").unwrap()).json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_key_is_charged_once() {
        let simulator = Simulator::start().await.unwrap();
        assert_eq!(post(simulator.url(), Some("k"), 100, "tok_visa").await, 201);
        assert_eq!(post(simulator.url(), Some("k"), 100, "tok_visa").await, 200);
        assert_eq!(post(simulator.url(), Some("k"), 200, "tok_visa").await, 422);
        assert_eq!(post(simulator.url(), None, 100, "tok_visa").await, 400);
        assert_eq!(post(simulator.url(), Some("free"), 0, "tok_visa").await, 422);
    }

    #[tokio::test]
    async fn the_client_understands_it() {
        let simulator = Simulator::start().await.unwrap();
        let payments = Payments::new(simulator.url()).unwrap();
        for (token, decision) in [("tok_visa", Charged::Paid), ("tok_declined", Charged::Declined)] {
            let order = Order { order_id: Uuid::now_v7(), amount_cents: 100, payment_token: token };
            assert_eq!(payments.charge(&order).await.unwrap(), decision);
            assert_eq!(payments.charge(&order).await.unwrap(), decision);
        }
    }
}
