//! The seam between tower and our middleware: the only `impl Service` and `impl Layer` of the family.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

/// An HTTP request with axum's body, as handlers and middleware of the family see it.
pub type Request = http::Request<axum_core::body::Body>;

/// An HTTP response with axum's body.
pub type Response = http::Response<axum_core::body::Body>;

/// One middleware: one struct and one async function around the rest of the stack.
///
/// The struct is a cheap handle (usually an `Arc` inside): it is cloned with each request. Wire it with
/// [`AroundLayer::new`]; the result fits `axum::Router::layer`, `route_layer` and `tower::ServiceBuilder`.
///
/// # Guarantee
///
/// `inner` has been polled ready by the caller of this very request: an implementation calls it at most once and
/// needs no `poll_ready` before. Readiness and back-pressure of the inner service reach the caller unchanged.
/// The error type is the inner service's own: a middleware refuses with a response.
///
/// # Non-guarantee
///
/// The returned future can be dropped at any of its `.await`s (the client went away): what has to happen in any case
/// belongs into a guard with `Drop`.
///
/// # Example
///
/// ```
/// use scalekit_core::http::{Around, AroundLayer, Request, Response};
/// use tower_layer::Layer;
/// use tower_service::Service;
///
/// #[derive(Clone)]
/// struct Stamp(&'static str);
///
/// impl Around for Stamp {
///     async fn around<S>(self, request: Request, mut inner: S) -> Result<Response, S::Error>
///     where
///         S: Service<Request, Response = Response> + Send + 'static,
///         S::Future: Send,
///         S::Error: Send,
///     {
///         let mut response = inner.call(request).await?;
///         response.headers_mut().insert("x-stamp", http::HeaderValue::from_static(self.0));
///         Ok(response)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let app: axum::Router = axum::Router::new()
///     .route("/", axum::routing::get(|| async { "hello" }))
///     .layer(AroundLayer::new(Stamp("seen")));
/// # use tower::ServiceExt;
/// let response = app.oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
/// assert_eq!(response.headers()["x-stamp"], "seen");
/// # }
/// ```
pub trait Around: Clone + Send + Sync + 'static {
    /// Handles one request; `inner` is the rest of the stack, ready to be called once.
    fn around<S>(self, request: Request, inner: S) -> impl Future<Output = Result<Response, S::Error>> + Send
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send;
}

/// A middleware that has nothing to wait for before the rest of the stack, and calls it at once.
///
/// Write [`Around`]: every one of them is a `Through`. This is the seam below it, for what stands around every request
/// of an app and must cost next to nothing: an `Around` pays for a clone of the inner service, which it owns, and for
/// a box around its future (with axum two allocations per request); a `Through` names its future and pays for neither.
///
/// The guarantees are those of [`Around`].
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// use scalekit_core::http::{AroundLayer, Inner, Request, Through};
///
/// #[derive(Clone, Default)]
/// struct Called(Arc<AtomicU64>);
///
/// impl Through for Called {
///     type Future<S: Inner> = S::Future;
///
///     fn through<S: Inner>(&self, request: Request, inner: &mut S) -> S::Future {
///         self.0.fetch_add(1, Relaxed);
///         inner.call(request)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let called = Called::default();
/// let app: axum::Router =
///     axum::Router::new().route("/", axum::routing::get(|| async { "hello" })).layer(AroundLayer::new(called.clone()));
/// # use tower::ServiceExt;
/// app.oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
/// assert_eq!(called.0.load(Relaxed), 1);
/// # }
/// ```
pub trait Through: Clone + Send + Sync + 'static {
    /// What becomes of one request.
    type Future<S: Inner>: Future<Output = Result<Response, S::Error>> + Send;

    /// Handles one request; `inner` is the rest of the stack, ready to be called once, now.
    fn through<S: Inner>(&self, request: Request, inner: &mut S) -> Self::Future<S>;
}

/// The rest of the stack, as a [`Through`] sees it: any [`Service`] that axum takes, too.
///
/// ```
/// use scalekit_core::http::{Inner, Request};
///
/// fn call<S: Inner>(inner: &mut S) -> S::Future {
///     inner.call(Request::default())
/// }
/// ```
pub trait Inner:
    Service<Request, Response = Response, Error: Send, Future: Send> + Clone + Send + 'static
{
}

impl<S> Inner for S where
    S: Service<Request, Response = Response, Error: Send, Future: Send> + Clone + Send + 'static
{
}

impl<A: Around> Through for A {
    type Future<S: Inner> = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn through<S: Inner>(&self, request: Request, inner: &mut S) -> Self::Future<S> {
        // `poll_ready` reserved a place in `inner` (a permit, a slot of a buffer), not in its clones: the one that is
        // ready goes into the future, and the fresh clone stays here to be polled ready for the next call.
        let fresh = inner.clone();
        let ready = mem::replace(inner, fresh);
        Box::pin(self.clone().around(request, ready))
    }
}

/// The [`Layer`] of a middleware written as [`Around`]; the example is there.
#[derive(Clone, Copy, Default)]
pub struct AroundLayer<A>(A);

impl<A> AroundLayer<A> {
    /// Makes a layer of a middleware.
    pub const fn new(around: A) -> Self {
        Self(around)
    }
}

impl<A: Clone, S> Layer<S> for AroundLayer<A> {
    type Service = AroundService<A, S>;

    fn layer(&self, inner: S) -> Self::Service {
        AroundService { around: self.0.clone(), inner }
    }
}

// The middleware may hold keys or handles that have no business in a log, so its fields stay out.
impl<A> fmt::Debug for AroundLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AroundLayer").finish_non_exhaustive()
    }
}

/// The [`Service`] that an [`AroundLayer`] makes; nobody needs to name it.
#[derive(Clone)]
pub struct AroundService<A, S> {
    around: A,
    inner: S,
}

impl<A: Through, S: Inner> Service<Request> for AroundService<A, S> {
    type Response = Response;
    type Error = S::Error;
    type Future = A::Future<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.around.through(request, &mut self.inner)
    }
}

impl<A, S> fmt::Debug for AroundService<A, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AroundService").finish_non_exhaustive()
    }
}
