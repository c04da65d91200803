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
use crate::http::{Around, Place, Request, Response, Whose};

/// Finds the route that the router matched: its pattern, never the path.
type RouteOf = dyn for<'a> Fn(&'a Parts) -> Option<&'a str> + Send + Sync;

/// The middleware of a [`Slo`]; made by [`Slo::layer`], where the example is.
// One count of references for both: it is cloned once per request, and lives on in the guard.
#[derive(Clone)]
pub struct SloLayer(Arc<Wired>);

struct Wired {
    slo: Slo,
    route_of: Box<RouteOf>,
}

impl SloLayer {
    pub(super) fn new(
        slo: Slo,
        route_of: impl for<'a> Fn(&'a Parts) -> Option<&'a str> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Wired { slo, route_of: Box::new(route_of) }))
    }

    pub(super) fn slo(&self) -> &Slo {
        &self.0.slo
    }
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
        let slot = self.0.slo.slot_id((self.0.route_of)(&parts), &parts.method);
        let head_request = parts.method == Method::HEAD;
        let whose = self.0.slo.tenants().map(|_| Whose::default());
        if let Some(whose) = &whose {
            parts.extensions.insert(whose.clone());
        }
        let mut guard = Guard::start(self, slot, whose);
        // Called here and not in the future, which then need not hold request and service.
        let response = match misplaced {
            None => {
                guard.enter_inner();
                let response = inner.call(Request::from_parts(parts, body));
                guard.leave_inner();
                Ok(response)
            }
            Some(problem) => Err(problem),
        };
        async move {
            let response = match response {
                Ok(response) => {
                    let mut response = pin!(response);
                    poll_fn(|cx| guard.watch(|| response.as_mut().poll(cx))).await
                }
                Err(problem) => Ok(problem.into_response()),
            };
            match response {
                Ok(response) => Ok(measure(response, head_request, guard)),
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
        f.debug_struct("SloLayer").field("slo", self.slo()).finish_non_exhaustive()
    }
}
