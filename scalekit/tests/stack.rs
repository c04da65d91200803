//! The stack: whatever the order in which its parts are given, a request meets the layers in the right one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::{Request, request::Parts};
use scalekit::{
    Principal, Stack,
    db::{self, FileLock, Sqlite, SqliteSource, Tx},
    http::{Authenticate, Response, principal_layer},
    idempotency::Idempotency,
    slo::{Objective, ObjectiveSet, Slo},
};
use tower::ServiceExt;

/// Knows whoever says a name, and counts how often it was asked.
#[derive(Clone, Default)]
struct Named(Arc<AtomicUsize>);

#[async_trait]
impl Authenticate for Named {
    async fn authenticate(&self, parts: &mut Parts) -> Result<Option<Principal>, Response> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(parts.headers.get("x-user").and_then(|name| name.to_str().ok()).map(Principal::user))
    }
}

async fn keys() -> Idempotency<Sqlite> {
    let pool =
        sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    db::migrate(&pool, &[db::MIGRATIONS]).await.unwrap();
    Idempotency::builder(SqliteSource::new(pool, FileLock::default())).by_principal().build().unwrap()
}

fn slo() -> Slo {
    let placed = Objective::new("place").route(http::Method::POST, "/orders").availability(0.999);
    Slo::new(ObjectiveSet::builder("stack").objective(placed).build().unwrap())
}

async fn place(_: Tx<Sqlite>, who: Principal) -> String {
    who.id().to_owned()
}

fn request(method: &str, path: &str, user: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("idempotency-key", "k");
    if let Some(user) = user {
        request = request.header("x-user", user);
    }
    request.body(Body::empty()).unwrap()
}

async fn status(app: &Router, request: Request<Body>) -> u16 {
    app.clone().oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn parts_in_any_order_make_the_same_stack() {
    let (asked, slo, keys) = (Named::default(), slo(), keys().await);
    let routes = [
        Router::new().route("/", get(|| async { "hello" })),
        Router::new().route("/me", get(|who: Principal| async move { who.id().to_owned() })),
        Router::new().route("/orders", post(place)),
    ];
    let [public, signed_in, keyed] = routes.clone();
    let forwards = Stack::new().slo(&slo).principal(asked.clone()).idempotency(&keys);
    let forwards = forwards.public(public).signed_in(signed_in).keyed(keyed).into_router().unwrap();
    let [public, signed_in, keyed] = routes;
    let backwards = Stack::new().keyed(keyed).signed_in(signed_in).public(public);
    let backwards = backwards.idempotency(&keys).principal(asked.clone()).slo(&slo).into_router().unwrap();
    for app in [forwards, backwards] {
        let before = asked.0.load(Ordering::SeqCst);
        assert_eq!(status(&app, request("GET", "/", None)).await, 200);
        assert_eq!(status(&app, request("GET", "/nowhere", None)).await, 404);
        assert_eq!(asked.0.load(Ordering::SeqCst), before, "public and unknown paths ask nobody");
        assert_eq!(status(&app, request("GET", "/me", None)).await, 401);
        assert_eq!(status(&app, request("GET", "/me", Some("ada"))).await, 200);
        assert_eq!(status(&app, request("POST", "/orders", None)).await, 401);
        assert_eq!(status(&app, request("POST", "/orders", Some("ada"))).await, 200);
    }
    assert_eq!(keys.counters().executed, 1, "the second order was a replay");
    let text = slo.render();
    assert!(text.contains(r#"http_route="<unmatched>""#), "the refused and unknown are measured too: {text}");
}

#[tokio::test]
async fn a_stack_without_layers_is_its_routes() {
    let app = Stack::new().public(Router::new().route("/", get(|| async {}))).into_router().unwrap();
    assert_eq!(
        (status(&app, request("GET", "/", None)).await, status(&app, request("GET", "/me", None)).await),
        (200, 404)
    );
    assert_eq!(status(&Stack::new().into_router().unwrap(), request("GET", "/", None)).await, 404);
}

#[tokio::test]
async fn routes_without_the_layer_they_need_are_refused() {
    let route = || Router::new().route("/orders", post(|| async {}));
    let open = Stack::new().signed_in(route()).into_router().unwrap_err();
    assert_eq!(open.to_string(), "routes that need a principal need `Stack::principal` or `Stack::sessions`");
    let unkeyed = Stack::new().principal(Named::default()).keyed(route()).into_router().unwrap_err();
    assert_eq!(unkeyed.to_string(), "keyed routes need `Stack::idempotency`");
}

#[tokio::test]
async fn layers_in_the_wrong_order_by_hand_are_an_error_that_names_both() {
    let log = Captured::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (asked, keys) = (Named::default(), keys().await);
    let inside_out =
        Router::new().route("/orders", post(place)).layer(principal_layer(asked)).layer(keys.layer());
    let mut with_principal = request("POST", "/orders", Some("ada"));
    with_principal.extensions_mut().insert(Principal::user("ada"));
    assert_eq!(status(&inside_out, with_principal).await, 500);
    let text = log.text();
    assert!(text.contains("the Principal layer stands inside the Idempotency layer"), "{text}");

    let measured = slo().layer(|_| None);
    let inside_out =
        Router::new().route("/me", get(|| async {})).layer(measured).layer(principal_layer(Named::default()));
    assert_eq!(status(&inside_out, request("GET", "/me", Some("ada"))).await, 500);
    assert!(log.text().contains("the Slo layer stands inside the Principal layer"));
}

#[derive(Clone, Default)]
struct Captured(Arc<std::sync::Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic while locked")).into_owned()
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic while locked").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
