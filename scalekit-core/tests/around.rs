//! The seam keeps tower's contract: readiness is delegated, and the service that was polled ready is the one called.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(feature = "http")]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::routing::get;
use scalekit_core::http::{Around, AroundLayer, Request, Response};
use tower::{Layer, Service, ServiceExt};

#[derive(Clone)]
struct Through;

impl Around for Through {
    async fn around<S>(self, request: Request, mut inner: S) -> Result<Response, S::Error>
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        inner.call(request).await
    }
}

#[tokio::test]
async fn readiness_is_that_of_the_inner_service() {
    let (mut service, mut handle) = tower_test::mock::spawn_layer(AroundLayer::new(Through));
    handle.allow(0);
    assert!(service.poll_ready().is_pending(), "ready although the inner service is not");

    handle.allow(1);
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    // The mock panics when a handle that was not polled ready itself is called, a clone included.
    let answer = tokio::spawn(service.call(Request::new(Body::empty())));
    let called = tokio::time::timeout(Duration::from_secs(10), handle.next_request()).await;
    let (_request, send) =
        called.expect("a service that is not ready was called").expect("no service was called");
    send.send_response(Response::new(Body::empty()));
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);

    assert!(service.poll_ready().is_pending(), "the used permit counted for the next call");
    handle.send_error("broken");
    assert!(matches!(service.poll_ready(), Poll::Ready(Err(_))), "a failed readiness was swallowed");
}

#[tokio::test]
async fn the_ready_service_is_called_and_no_clone_of_it() {
    let calls = Arc::new(AtomicUsize::new(0));
    let mut service = AroundLayer::new(Through).layer(Permit { held: false, calls: calls.clone() });
    for expected in 1..=50 {
        service.ready().await.unwrap();
        let mut twin = service.clone();
        service.call(Request::new(Body::empty())).await.unwrap();
        twin.ready().await.unwrap().call(Request::new(Body::empty())).await.unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 2 * expected);
    }
}

#[tokio::test]
async fn it_fits_layer_and_route_layer_of_a_router() {
    let app: axum::Router = axum::Router::new()
        .route("/a", get(|| async { "a" }).layer(AroundLayer::new(Through)))
        .route_layer(AroundLayer::new(Through))
        .layer(AroundLayer::new(Through))
        .layer(tower::ServiceBuilder::new().layer(AroundLayer::new(Through)));
    let found = app.clone().oneshot(to("/a")).await.unwrap();
    assert_eq!(found.status(), 200);
    let missing = app.oneshot(to("/b")).await.unwrap();
    assert_eq!(missing.status(), 404);
}

fn to(path: &'static str) -> Request {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = http::Uri::from_static(path);
    request
}

/// Panics unless this very value was polled ready; a clone holds no permit.
struct Permit {
    held: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Permit {
    fn clone(&self) -> Self {
        Self { held: false, calls: self.calls.clone() }
    }
}

impl Service<Request> for Permit {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.held = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request) -> Self::Future {
        assert!(std::mem::take(&mut self.held), "called without being ready");
        self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new(Body::empty())))
    }
}
