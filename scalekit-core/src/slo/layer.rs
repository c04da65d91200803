//! The middleware: counts a request in, runs the rest of the stack, hands the guard to the body.

use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum_core::response::IntoResponse;
use futures_util::future::Either;
use http::Method;
use pin_project_lite::pin_project;

use super::body::measure;
use super::guard::Guard;
use super::handle::Slo;
use crate::http::{Inner, Place, Request, Response, Through, Whose};

/// Finds the route that the router matched: its pattern, never the path.
type RouteOf = dyn for<'a> Fn(&'a Request) -> Option<&'a str> + Send + Sync;

/// The middleware of a [`Slo`]; made by [`Slo::layer`], where the example is.
// One count of references for both: axum clones it with each request.
#[derive(Clone)]
pub struct SloLayer(Arc<Wired>);

struct Wired {
    slo: Slo,
    route_of: Box<RouteOf>,
}

impl SloLayer {
    pub(super) fn new(
        slo: Slo,
        route_of: impl for<'a> Fn(&'a Request) -> Option<&'a str> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Wired { slo, route_of: Box::new(route_of) }))
    }

    pub(super) fn slo(&self) -> &Slo {
        &self.0.slo
    }
}

impl Through for SloLayer {
    type Future<S: Inner> = Either<Ready<Result<Response, S::Error>>, Measured<S::Future>>;

    fn through<S: Inner>(&self, mut request: Request, inner: &mut S) -> Self::Future<S> {
        let misplaced = Place::Slo.enter(request.extensions_mut()).err();
        let slot = self.slo().slot((self.0.route_of)(&request), request.method()).clone();
        let head_request = request.method() == Method::HEAD;
        // Several layers may follow tenants: all of them are told.
        let whose =
            self.slo().tenants().map(|_| request.extensions_mut().get_or_insert_default::<Whose>().clone());
        let mut guard = Guard::start(self.slo().clone(), slot, whose);
        if let Some(problem) = misplaced {
            return Either::Left(ready(Ok(measure(problem.into_response(), head_request, guard))));
        }
        // A request counts from here, polled or not.
        guard.enter_inner();
        let inner = inner.call(request);
        guard.leave_inner();
        Either::Right(Measured { inner, head_request, guard: Some(guard) })
    }
}

pin_project! {
    // By hand, since an `async` block would move the inner future once more: it holds the request.
    pub struct Measured<F> {
        #[pin]
        inner: F,
        head_request: bool,
        guard: Option<Guard>,
    }
}

impl<F: Future<Output = Result<Response, E>>, E> Future for Measured<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(guard) = this.guard else { return this.inner.poll(cx) };
        let answer = ready!(guard.watch(|| this.inner.poll(cx)));
        let guard = this.guard.take();
        Poll::Ready(match (answer, guard) {
            (Ok(response), Some(guard)) => Ok(measure(response, *this.head_request, guard)),
            (answer, guard) => {
                if let Some(guard) = guard {
                    guard.fail();
                }
                answer
            }
        })
    }
}

impl fmt::Debug for SloLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SloLayer").field("slo", self.slo()).finish_non_exhaustive()
    }
}
