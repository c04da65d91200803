//! The middleware: counts a request in, runs the rest of the stack, hands the guard to the body.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use axum_core::response::IntoResponse;
use http::Method;
use http::request::Parts;
use tower_service::Service;

use super::body::measure;
use super::guard::Guard;
use super::handle::Slo;
use super::outcome::Head;
use crate::http::{Around, Place, Request, Response, Shed};

/// Finds the route that the router matched: its pattern, never the path.
pub(super) type RouteOf = dyn for<'a> Fn(&'a Parts) -> Option<&'a str> + Send + Sync;

/// The middleware of a [`Slo`]; made by [`Slo::layer`], where the example is.
#[derive(Clone)]
pub struct SloLayer {
    pub(super) slo: Slo,
    pub(super) route_of: Arc<RouteOf>,
}

impl Around for SloLayer {
    // Not an `async fn`: a request counts from the call of the service, polled or not.
    fn around<S>(
        self,
        request: Request,
        mut inner: S,
    ) -> impl Future<Output = Result<Response, S::Error>> + Send
    where
        S: Service<Request, Response = Response> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
    {
        let (mut parts, body) = request.into_parts();
        let misplaced = Place::Slo.enter(&mut parts.extensions).err();
        let slot = self.slo.slot((self.route_of)(&parts), &parts.method);
        let head_request = parts.method == Method::HEAD;
        let mut guard = Guard::start(self.slo, slot);
        let request = Request::from_parts(parts, body);
        async move {
            let response = {
                let mut response = pin!(async move {
                    match misplaced {
                        None => inner.call(request).await,
                        Some(problem) => Ok(problem.into_response()),
                    }
                });
                poll_fn(|cx| guard.watch(|| response.as_mut().poll(cx))).await
            };
            match response {
                Ok(response) => {
                    let shed =
                        response.status().as_u16() >= 400 && response.extensions().get::<Shed>().is_some();
                    guard.head(Head { status: response.status(), shed });
                    Ok(measure(response, head_request, guard))
                }
                Err(error) => {
                    guard.fail();
                    Err(error)
                }
            }
        }
    }
}

impl fmt::Debug for SloLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SloLayer").field("slo", &self.slo).finish_non_exhaustive()
    }
}
