//! The client against providers that refuse, hang and hang up.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use tokio::net::TcpListener;

use super::*;

/// A provider that answers with one status (0 is no answer at all), and remembers the keys.
#[derive(Clone)]
struct Provider {
    status: u16,
    keys: Arc<Mutex<Vec<String>>>,
}

async fn answer(State(provider): State<Provider>, headers: HeaderMap) -> StatusCode {
    provider.keys.lock().unwrap().push(headers["idempotency-key"].to_str().unwrap().to_owned());
    if provider.status == 0 {
        std::future::pending::<()>().await;
    }
    StatusCode::from_u16(provider.status).unwrap()
}

async fn provider(status: u16) -> (Provider, Payments) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/v1/", listener.local_addr().unwrap())).unwrap();
    let provider = Provider { status, keys: Arc::default() };
    let router = Router::new().route("/v1/charges", post(answer)).with_state(provider.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (provider, Payments::new(&url).unwrap())
}

fn order(order_id: Uuid) -> Charge<'static> {
    Charge { order_id, amount_cents: 100, payment_token: "tok_visa" }
}

#[tokio::test]
async fn an_order_is_always_charged_under_the_same_key() {
    let (provider, payments) = provider(201).await;
    let order_id = Uuid::now_v7();
    for _ in 0..2 {
        assert_eq!(payments.charge(&order(order_id)).await.unwrap(), Charged::Paid);
    }
    let key = Uuid::new_v5(&order_id, b"psp/charge").to_string();
    assert_eq!(*provider.keys.lock().unwrap(), [key.clone(), key]);
}

#[tokio::test]
async fn a_provider_that_hangs_or_is_gone_is_to_be_asked_again() {
    let (_provider, payments) = provider(0).await;
    assert!(payments.charge(&order(Uuid::now_v7())).await.unwrap_err().is_transient());
    let nobody = Payments::new(&Url::parse("http://127.0.0.1:1/").unwrap()).unwrap();
    assert!(nobody.charge(&order(Uuid::now_v7())).await.unwrap_err().is_transient());
}

#[test]
fn a_status_decides_or_is_to_be_asked_again() {
    for status in [200, 201, 204] {
        assert_eq!(decide(StatusCode::from_u16(status).unwrap()).unwrap(), Charged::Paid);
    }
    assert_eq!(decide(StatusCode::PAYMENT_REQUIRED).unwrap(), Charged::Declined);
    for status in [400, 401, 404, 422] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(decide(status).unwrap(), Charged::Refused(status));
    }
    for status in [307, 408, 409, 425, 429, 500, 502, 503, 504] {
        assert!(decide(StatusCode::from_u16(status).unwrap()).unwrap_err().is_transient(), "{status}");
    }
}

#[test]
fn the_token_is_not_shown() {
    assert!(!format!("{:?}", order(Uuid::now_v7())).contains("tok_"));
}
