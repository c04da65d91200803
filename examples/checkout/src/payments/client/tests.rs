//! The client against providers that refuse, hang, hang up and forget.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use tokio::net::TcpListener;

use super::*;

/// A provider that answers with these statuses in turn, the last for ever, and remembers the keys.
#[derive(Clone)]
struct Provider {
    statuses: Arc<Vec<u16>>,
    calls: Arc<AtomicUsize>,
    keys: Arc<Mutex<Vec<String>>>,
}

async fn answer(State(provider): State<Provider>, headers: HeaderMap) -> StatusCode {
    let call = provider.calls.fetch_add(1, Ordering::SeqCst);
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    provider.keys.lock().unwrap().push(key);
    let status = provider.statuses[call.min(provider.statuses.len() - 1)];
    if status == 0 {
        std::future::pending::<()>().await;
    }
    StatusCode::from_u16(status).unwrap()
}

async fn provider(statuses: &[u16]) -> (Provider, Payments) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/v1/", listener.local_addr().unwrap())).unwrap();
    let provider =
        Provider { statuses: Arc::new(statuses.to_vec()), calls: Arc::default(), keys: Arc::default() };
    let router = Router::new().route("/v1/charges", post(answer)).with_state(provider.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (provider, Payments::new(&url).unwrap())
}

fn order(order_id: Uuid) -> Charge<'static> {
    Charge { order_id, amount_cents: 100, payment_token: "tok_visa" }
}

#[tokio::test]
async fn asks_until_it_knows_and_always_under_the_same_key() {
    let (provider, payments) = provider(&[500, 429, 409, 425, 201]).await;
    let order_id = Uuid::now_v7();
    assert_eq!(payments.charge(&order(order_id)).await, Charged::Paid);
    let keys = provider.keys.lock().unwrap().clone();
    assert_eq!(keys, vec![Uuid::new_v5(&order_id, b"psp/charge").to_string(); 5]);
}

#[tokio::test]
async fn a_provider_that_hangs_is_asked_again() {
    let (provider, payments) = provider(&[0, 200]).await;
    assert_eq!(payments.charge(&order(Uuid::now_v7())).await, Charged::Paid);
    assert_eq!(provider.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_decision_is_final() {
    for (status, decision) in
        [(402, Charged::Declined), (400, Charged::Refused(StatusCode::BAD_REQUEST)), (204, Charged::Paid)]
    {
        let (provider, payments) = provider(&[status]).await;
        assert_eq!(payments.charge(&order(Uuid::now_v7())).await, decision);
        assert_eq!(provider.calls.load(Ordering::SeqCst), 1, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    assert!(matches!(decide(StatusCode::TEMPORARY_REDIRECT), Err(Again::Busy(_))));
}

#[test]
fn pauses_stay_within_half_and_whole() {
    for _ in 0..1000 {
        let pause = jittered(PAUSE_MAX);
        assert!((PAUSE_MAX / 2..=PAUSE_MAX).contains(&pause), "{pause:?}");
    }
}

#[test]
fn the_token_is_not_shown() {
    assert!(!format!("{:?}", order(Uuid::now_v7())).contains("tok_"));
}
