//! Sessions outside the process: any instance serves any request, one Redis round trip, correct under races.
//!
//! A monolith that keeps sessions in memory needs sticky load balancing and signs everybody out at each
//! deployment. The usual way out, one blob per session that every request reads and writes back, loses one of
//! two parallel writes, brings signed-out sessions back, and turns an outage of Redis into a logout. Here
//! fields are declared once, changes are *recorded* and committed by one script, and only they travel.
//!
//! ```
//! use axum::{Json, Router, routing::{get, post}};
//! use scalekit_core::{KeyRing, Principal, Result, http::principal_layer};
//! use scalekit_session::{CounterMap, MemoryStore, Session, Sessions};
//! use std::collections::BTreeMap;
//!
//! const CART: CounterMap = CounterMap::new("cart").dropping_empty();
//!
//! async fn sign_in(session: Session) -> Result<()> {
//!     session.sign_in(&Principal::user("ada").tenant("acme"), "Firefox on Linux").await
//! }
//!
//! async fn add(session: Session) -> Result<()> {
//!     session.add(CART, "tea", 1)
//! }
//!
//! async fn cart(session: Session) -> Result<Json<BTreeMap<String, i64>>> {
//!     Ok(Json(session.counter_map(CART).await?))
//! }
//!
//! # fn main() -> Result<()> {
//! // In production `RedisStore::new(Redis::open("redis://..")?)` and `KeyRing::parse(..)`, the same for all.
//! let sessions = Sessions::builder(MemoryStore::new(), KeyRing::generate()?).namespace("shop").build()?;
//! let app: Router = Router::new()
//!     .route("/cart", get(cart).post(add))
//!     .route_layer(principal_layer(sessions.principal())) // 401 without a sign-in
//!     .route("/sign-in", post(sign_in))
//!     .layer(sessions.layer());
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! - Changes of parallel requests, on any instances, are all kept: different fields, counters, members of maps,
//!   closures given to [`Session::update`].
//! - A session that was signed out, revoked or rotated stays dead: a late write is dropped and counted, its
//!   response stands, and no late response sets or removes a cookie.
//! - A cookie that none of the ring's keys has signed costs no command of Redis. Redis holds a digest of the
//!   secret: whoever reads a dump cannot take a session over.
//! - A sign-in gives a new secret, and what a guest held is kept; the guest's old secret never opens what is the user's.
//!   If the answer is lost, the guest's content can still be read for 30 s. A handler that fails (5xx, see [`CommitOn`]),
//!   panics or is cancelled commits nothing.
//! - A secret that is an hour old ([`rotate_every`](SessionsBuilder::rotate_every)) is replaced in passing. The old one
//!   leads to the session until the new one is first used, and 10 to 30 s longer: requests in parallel are all served, a
//!   lost answer loses nothing, and who comes with the old one later is nobody and reported. A request, or a stream, that
//!   came in time goes on with its session however long it takes.
//! - While Redis is down nobody is signed out and nothing is overwritten.
//!
//! # Non-guarantees
//!
//! - Of two parallel [`Session::set`]s of one field the later wins.
//! - A commit that Redis does not answer in time may still be executed: the response is 503 with the problem
//!   type `outcome-unknown`, and the handler's effects elsewhere stand. Where that matters, put a transaction
//!   around the handler: the session then takes part in it (see below).
//! - A cookie is as new as the response that arrives last: one that replaces a secret in passing, and arrives after that
//!   of a sign-in which was sent with the same old secret, takes the sign-in's place. Its user signs in again.
//! - Parallel first requests of one new visitor make one session each; the browser keeps one of them.
//! - A session is as durable as Redis is configured to be.
//! - Marks that tell an ended session from an expired one last a minute: a response that takes longer
//!   than that can set the cookie of a new guest's session.
//! - Whoever has had a stream or a slow request open since before its secret was given up goes on with it. Sign-out and
//!   revocation end that, too; see [`ReadSession::watch`].
//!
//! # When something fails
//!
//! | what | the client sees |
//! |---|---|
//! | Redis is down or slow, the route reads its session | 503, `Retry-After`, within the request's budget (200 ms) |
//! | the same, the route takes a [`MaybeSession`] | what its handler makes of it, within the same budget |
//! | Redis is down or slow, the route does not use its session | nothing |
//! | the commit is not answered | 503, `Retry-After`, type `outcome-unknown`; the cookie stays |
//! | an `update` was overtaken 32 times | 409, `Retry-After` |
//! | the session ended meanwhile | the handler's answer; the write is dropped and counted in [`Metrics::gone`] |
//! | the session would pass its limits | 413; nothing was committed |
//!
//! # In a transaction
//!
//! The layer puts itself among the request's [`Participants`](scalekit_core::http::Participants). A layer that owns a
//! database transaction has it record the changes *in* the transaction and apply them after the commit, once for
//! an operation's id, to the session they were made on, whoever replays. On such a route only `set`, `remove`,
//! `incr` and `add` are allowed.
//!
//! # Features
//!
//! - `redis`: `RedisStore`, for Redis 6.2 or later, Valkey, and Redis Cluster.
//! - `stale`: [`stale_for`](SessionsBuilder::stale_for), read-only copies for routes that are shown while the store is away
//!   (brings moka along).
//! - `testing`: for the tests of your application; `testing::RollingRestart` restarts its nodes one by one under traffic
//!   and reports who lost what. Brings no dependency along.
//! - `tower-sessions-014`, `tower-sessions-015`: `TowerSessionStore`, by which an application on tower-sessions 0.14 (such
//!   as every one on axum-login 0.18) or 0.15 keeps its sessions here and changes nothing but its store.

mod address;
mod builder;
mod commit;
mod content;
mod cookie;
mod field;
mod handover;
mod identity;
mod layer;
mod leftover;
mod maybe;
mod metrics;
mod nodes;
mod ops;
mod participant;
mod pending;
mod principal;
mod read;
mod rotation;
mod session;
mod sessions;
mod stale;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "tower-sessions-014", feature = "tower-sessions-015"))]
mod tower_sessions;
mod visit;
mod watch;

pub use builder::SessionsBuilder;
pub use commit::CommitOn;
pub use content::Content;
pub use cookie::{Cookie, SameSite};
pub use field::{Counter, CounterMap, Field, List, OnCorrupt};
pub use identity::{Current, Sibling, SignIn};
pub use layer::SessionLayer;
pub use maybe::MaybeSession;
pub use metrics::Metrics;
pub use ops::SessionOps;
pub use principal::SessionPrincipal;
pub use read::ReadSession;
pub use rotation::{OnReuse, Reuse};
pub use session::{Applied, Session};
pub use sessions::Sessions;
pub use stale::StaleSession;
pub use store::{Store, memory::MemoryStore};
#[cfg(feature = "redis")]
pub use store::{eviction::Eviction, redis::RedisStore};
#[cfg(any(feature = "tower-sessions-014", feature = "tower-sessions-015"))]
pub use tower_sessions::{TowerMetrics, TowerSessionStore};
pub use watch::Watch;
