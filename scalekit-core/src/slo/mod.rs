//! Latency and objectives per route: measured where the client feels it, counted exactly, read as Prometheus text, as
//! JSON, or through OpenTelemetry.
//!
//! Declare objectives once, put [`Slo::layer`] outside of everything else, and serve [`Slo::render`].
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::extract::MatchedPath;
//! use axum::{Router, routing::{get, post}};
//! use http::Method;
//! use scalekit_core::slo::{CONTENT_TYPE, Objective, ObjectiveSet, Slo};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> scalekit_core::Result<()> {
//! let objectives = ObjectiveSet::builder("shop")
//!     .objective(
//!         Objective::new("checkout")
//!             .route(Method::POST, "/checkout")
//!             .latency(Duration::from_millis(300))
//!             .target(0.99)
//!             .availability(0.999),
//!     )
//!     .build()?;
//! let slo = Slo::new(objectives);
//!
//! let scrape = slo.clone();
//! let app: Router = Router::new()
//!     .route("/checkout", post(|| async { "placed" }))
//!     .route("/metrics", get(move || async move { ([("content-type", CONTENT_TYPE)], scrape.render()) }))
//!     .layer(slo.layer(|request| request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)));
//! # use tower::ServiceExt;
//! # let request = http::Request::post("/checkout").body(axum::body::Body::empty()).unwrap();
//! # let answer = app.oneshot(request).await.unwrap();
//! # axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
//! assert!(slo.render().contains("scalekit_slo_good_total{slo=\"checkout\"} 1\n"));
//! # Ok(())
//! # }
//! ```
//!
//! # What is measured
//!
//! The time from the call of the layer to the head of the response, and to the **end of the response body**: its last
//! frame or its trailers handed to the server, its failure, or the moment the server drops it. Every request that enters
//! ends in exactly one [`Outcome`], dropped and panicking ones included, and leaves the in-flight gauge then.
//!
//! A response is judged by its end, a stream by its head: see [`Shape`].
//!
//! | outcome | objective, by default | Apdex |
//! |---|---|---|
//! | `ok` within the threshold T | good | satisfied |
//! | `ok` slower than T | bad | tolerating up to 4T, then frustrated |
//! | cancelled after T | bad | frustrated |
//! | `server_error`, `body_error`, `panicked` | bad, and not available | frustrated |
//! | `client_error`, `shed`; cancelled within T, or without a T | not counted | none |
//!
//! [`Objective::exclude`] says otherwise. `shed` is what a limiter marked with [`Shed`](crate::http::Shed) and nothing
//! else: a 503 because a store is down is a `server_error`.
//!
//! # Families
//!
//! | family | type | labels |
//! |---|---|---|
//! | `http_server_request_duration_seconds` | histogram | `http_request_method`, `http_route`, `http_response_status_code` (absent if no head was sent) |
//! | `scalekit_http_server_head_duration_seconds` | histogram | `http_request_method`, `http_route` |
//! | `scalekit_http_server_stream_duration_seconds` | histogram | the same |
//! | `http_server_active_requests`, `scalekit_http_server_active_requests_max` (of the last minute) | gauge | `http_request_method`, `http_route` |
//! | `scalekit_http_server_active_request_seconds_total` | counter | the same; its `rate()` is the mean number in flight, which no scrape can miss (as long as somebody scrapes, or a request ends, every 16 million request-seconds) |
//! | `scalekit_http_outcomes_total` | counter | the same, `outcome` |
//! | `scalekit_journey_duration_seconds` | histogram | `slo`, `step` |
//! | `scalekit_slo_requests_total`, `_good_total`, `_available_total` | counter | `slo` |
//! | `scalekit_slo_apdex_total` | counter | `slo`, `zone`: `satisfied`, `tolerating`, `frustrated` |
//! | `scalekit_slo_threshold_seconds`, `_target_ratio`, `_availability_target_ratio` | gauge | `slo` |
//! | `scalekit_slo_burn_rate` | gauge | `slo`, `promise`: `latency`, `availability`; `window`: `5m` to `30d`; absent without requests |
//! | `scalekit_slo_budget_left_ratio` | gauge | `slo`, `promise` |
//! | `scalekit_hop_duration_seconds` | histogram | `hop`, `operation`, `outcome`: what came through [`Slo::signals`] |
//! | `scalekit_lag_items`, `scalekit_lag_seconds` | gauge | `queue`, `of`; absent when nobody has observed it for 30 s |
//! | `scalekit_lag_stale` | gauge | `queue`, `of`; 1 then |
//! | `scalekit_tenant_requests_total`, `scalekit_tenant_good_total` | counter | `tenant`, where [`SloBuilder::tenants`] asks for it |
//!
//! [`Naming::Classic`] gives the names of older queries. A scrape is answered by [`Slo::scrape`], as Prometheus text or
//! OpenMetrics; to the text of [`Slo::render`] an application appends families of its own by [`Exposition`]; JSON is
//! [`Slo::report`]; with the feature `otel`, `Slo::export_to` takes a meter of the application's provider. All of them
//! read the same counters.
//!
//! Bucket bounds are those of OpenTelemetry's HTTP conventions plus the threshold T and 4T of every objective.
//! Comparisons are in whole nanoseconds and inclusive, so a request of exactly T is good and is counted in `le="T"`.
//!
//! Every request that ends is in one of the first and the third histogram: the lives of streams never mix with the times
//! of requests. The second one has every response that got a head, streams included.
//!
//! A journey (see [`Objective::until`]) counts in the `scalekit_slo_` families as every objective does: one for each step
//! that is reported, and one for each request on the way that failed by our fault.
//!
//! Targets change without a build: see [`ObjectiveSetBuilder::overrides_from_env`].
//!
//! # Guarantees
//!
//! - After all requests have ended, the outcomes sum up to the requests started and every gauge is 0.
//! - `good <= available <= requests` in every scrape, and the three zones of Apdex add up to them; a
//!   histogram's `_count` is the sum of its buckets.
//! - Series are bounded whatever clients send: [`MAX_ROUTES`] routes, then `<other>`; what no route matches is
//!   `<unmatched>`; unknown methods are `_OTHER`; [`MAX_STATUSES`] statuses per route and method.
//! - Declared objectives and their routes are exported as 0 before the first request.
//! - No lock and no label text on the way of a request to a known route, but where tenants are followed (one of eight
//!   short locks), and for the one request in ten seconds that shows the counters to the budgets; 0 round trips.
//!
//! # Non-guarantees
//!
//! - Numbers are those of this process since it started; percentiles of several processes come from the buckets.
//! - The end of the body is what the HTTP server took, not what the client has received.
//! - A stream that breaks after a good head stays good; its outcome (`body_error`) tells it. The status that gRPC sends
//!   in its trailers is not read, and an upgraded connection (101) is over with its head.
//! - [`RouteRow`]'s percentiles are within 1.6 % of the exact ones up to 68 s, and saturate there.

mod body;
mod bounds;
mod budget;
mod budgets;
mod builder;
mod concurrency;
mod exposition;
mod families;
mod guard;
mod handle;
mod histogram;
mod hops;
mod journey;
mod lag;
mod lags;
mod layer;
mod maxima;
mod naming;
mod objective;
#[cfg(feature = "otel")]
mod otel;
mod outcome;
mod overrides;
mod rate;
mod report;
mod routes;
mod set;
mod shape;
mod slot;
mod snapshot;
mod tally;
mod tenants;
mod text;
mod top;

#[cfg(feature = "otel")]
pub use opentelemetry;

pub use budget::{Alert, AlertState, Budget, Burn, BurnMeter, Burning, Window};
pub use builder::SloBuilder;
pub use exposition::Exposition;
pub use handle::{Slo, render_all};
pub use hops::MAX_OPERATIONS;
pub use journey::Step;
pub use lag::{Lag, LagGauge, LagReading};
pub use layer::SloLayer;
pub use naming::Naming;
pub use objective::Objective;
pub use outcome::Outcome;
pub use report::{BudgetRow, OperationRow, QueueRow, Report};
pub use routes::MAX_ROUTES;
pub use set::{ObjectiveSet, ObjectiveSetBuilder};
pub use shape::Shape;
pub use slot::MAX_STATUSES;
pub use snapshot::{ObjectiveRow, RouteRow};
pub use tenants::{TenantCounts, TenantExport, TenantRow, TenantTally, TenantTop, Tenants};
pub use text::CONTENT_TYPE;
pub use top::{TopEntry, TopK, TopKey};
