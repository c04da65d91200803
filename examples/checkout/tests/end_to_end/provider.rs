//! A payment provider that remembers what it took, and can be told to fail.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::Value;
use tokio::net::TcpListener;

/// See the module.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) url: String,
    state: Arc<Ledger>,
}

#[derive(Default)]
struct Ledger {
    /// What is answered instead of taking money; 0 for nothing.
    failing: AtomicU16,
    /// By key.
    charges: Mutex<HashMap<String, Value>>,
    calls: Mutex<Vec<Value>>,
}

impl Provider {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Ledger>::default();
        let router = Router::new().route("/charges", post(charge)).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// Answers every charge with this status from now on; 0 takes the money again.
    pub(crate) fn fail_with(&self, status: u16) {
        self.state.failing.store(status, Ordering::SeqCst);
    }

    /// The orders whose money was taken, once for each time.
    pub(crate) fn charged(&self) -> Vec<String> {
        let charges = self.state.charges.lock().unwrap();
        charges.values().map(|charge| charge["order_id"].as_str().unwrap().to_owned()).collect()
    }

    /// Everything that was asked.
    pub(crate) fn calls(&self) -> Vec<Value> {
        self.state.calls.lock().unwrap().clone()
    }
}

async fn charge(
    State(ledger): State<Arc<Ledger>>,
    headers: HeaderMap,
    Json(charge): Json<Value>,
) -> StatusCode {
    ledger.calls.lock().unwrap().push(charge.clone());
    let failing = ledger.failing.load(Ordering::SeqCst);
    if failing != 0 {
        return StatusCode::from_u16(failing).unwrap();
    }
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    ledger.charges.lock().unwrap().insert(key, charge);
    StatusCode::CREATED
}
