//! What an idempotency key prevents in a storm of duplicates, beside axum-idempotent.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, body::Body, routing::post};
use axum_idempotent::{IdempotentLayer, IdempotentOptions};
use http::{Request, StatusCode};
use ruts::{
    CookieOptions, Session, SessionLayer,
    store::{Ttl, moka::MokaStore},
};
use scalekit_bench::{
    app,
    duel::block_on,
    idempotency::{self, PAUSE, Service},
};
use tower_cookies::CookieManagerLayer;

pub(crate) fn run() {
    block_on(async {
        let (_server, database) = idempotency::database(false).await;
        let services = vec![idempotency::stormy(&database).await, axum_idempotent().await];
        idempotency::storm(services).await;
    });
}

/// Its records live in sessions; here in one memory that both processes share, the kindest store there is (the
/// one in Redis wants a server of version 7.4).
async fn axum_idempotent() -> Service {
    let ran = Arc::new(AtomicU64::new(0));
    let store = Arc::new(MokaStore::builder().build());
    let process = || {
        let ran = Arc::clone(&ran);
        let charge = move || {
            let ran = Arc::clone(&ran);
            async move {
                ran.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
                StatusCode::CREATED
            }
        };
        let options = IdempotentOptions::default().use_idempotency_key_header(Some("Idempotency-Key"), true);
        Router::new()
            .route("/charges", post(charge).layer(IdempotentLayer::<MokaStore>::new(options)))
            .route("/sign-in", post(sign_in))
            .layer(
                SessionLayer::new(Arc::clone(&store)).with_cookie_options(CookieOptions::build().name("id")),
            )
            .layer(CookieManagerLayer::new())
    };
    let processes = [process(), process()];
    // It keeps answers only for a client that has a session.
    let request = Request::post("/sign-in").body(Body::empty()).unwrap();
    let cookie = app::cookie(&app::send(&mut processes[0].clone(), request).await);
    Service { name: "axum-idempotent 0.6, in memory", processes, ran, cookie: Some(cookie) }
}

async fn sign_in(session: Session<MokaStore>) {
    session.set("user", &"ada".to_owned(), Ttl::new(60).unwrap(), None).await.unwrap();
}
