//! A payment provider of the test's own: it remembers every charge that it was asked for.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::Notify, task::AbortHandle};

/// A provider that serves until it is dropped.
pub(crate) struct Provider {
    url: String,
    inner: Arc<Inner>,
    task: AbortHandle,
}

/// One request to charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) key: String,
    pub(crate) order_id: String,
    pub(crate) amount_cents: i64,
    pub(crate) token: String,
}

#[derive(Default)]
struct Inner {
    charges: Mutex<Vec<Charge>>,
    silent: AtomicBool,
    changed: Notify,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    order_id: String,
    amount_cents: i64,
    payment_token: String,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::<Inner>::default();
        let router = Router::new().route("/charges", post(charge)).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }).abort_handle();
        Self { url, inner, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on it takes the money and does not answer.
    pub(crate) fn take_money_silently(&self) {
        self.inner.silent.store(true, Ordering::SeqCst);
    }

    /// Answers again.
    pub(crate) fn answer_again(&self) {
        self.inner.silent.store(false, Ordering::SeqCst);
        self.inner.changed.notify_waiters();
    }

    /// Waits until it was asked for this order.
    pub(crate) async fn wait_charged(&self, order_id: &str) {
        let asked = || async { !self.charges_of(order_id).is_empty() };
        scalekit_testkit::wait_until("the order is charged", super::SOON, asked).await;
    }

    /// Every request for this order, repetitions too.
    pub(crate) fn charges_of(&self, order_id: &str) -> Vec<Charge> {
        self.inner.lock().iter().filter(|charge| charge.order_id == order_id).cloned().collect()
    }

    /// The orders that were charged.
    pub(crate) fn orders(&self) -> BTreeSet<String> {
        self.inner.lock().iter().map(|charge| charge.order_id.clone()).collect()
    }

    /// Whatever was asked for this order was asked under one key, with one amount and one token.
    pub(crate) fn assert_charged_once(&self, order_id: &str, amount_cents: i64, token: &str) {
        let charges = self.charges_of(order_id);
        let first = charges.first().unwrap_or_else(|| panic!("order {order_id} was never charged"));
        assert_eq!((first.amount_cents, first.token.as_str()), (amount_cents, token));
        assert!(charges.iter().all(|charge| charge == first), "one order, several charges: {charges:?}");
        let order: uuid::Uuid = order_id.parse().unwrap();
        assert_eq!(first.key, uuid::Uuid::new_v5(&order, b"psp/charge").to_string());
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Vec<Charge>> {
        self.charges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn charge(State(inner): State<Arc<Inner>>, headers: HeaderMap, Json(body): Json<Body>) -> StatusCode {
    let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    let declined = body.payment_token == "tok_declined";
    let Body { order_id, amount_cents, payment_token: token } = body;
    inner.lock().push(Charge { key: key.to_owned(), order_id, amount_cents, token });
    loop {
        let changed = inner.changed.notified();
        if !inner.silent.load(Ordering::SeqCst) {
            break;
        }
        changed.await;
    }
    if declined { StatusCode::PAYMENT_REQUIRED } else { StatusCode::CREATED }
}
