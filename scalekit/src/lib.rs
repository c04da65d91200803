//! Scale a service built as one axum/tower monolith out to many machines, without a change of infrastructure.
//!
//! | practice | feature | start at |
//! |---|---|---|
//! | sessions outside the process | `session`, `redis` | [`session`] |
//! | never charge twice | `idempotency` | [`idempotency`] |
//! | shards by tenant, over sqlx | `shard` | [`shard`] |
//! | events leave with the commit | `outbox` | [`outbox`] |
//! | measure what the user feels | `slo` | [`slo`] |
//!
//! Each crate works alone; [`Stack`] puts their layers in the right order. The guide stands in `docs/guide/` of the
//! repository, the whole story in `examples/checkout`.
//!
//! The order of the layers, from the outside in, and why:
//!
//! 1. **SLO**: it sees every answer, also the refusals of the layers below, and the unknown paths.
//! 2. **session**: it checks the cookie, loads nothing, and commits after everything below has answered.
//! 3. **principal**: it loads the session and refuses the anonymous, before a body is read.
//! 4. **idempotency**: it reads the body, opens the transaction on the principal's shard, claims the key.

mod stack;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/adopt.md")]
mod adopt {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/objectives.md")]
mod objectives {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide/sessions.md")]
mod sessions {}

#[cfg(feature = "idempotency")]
pub use scalekit_idempotency as idempotency;
#[cfg(feature = "outbox")]
pub use scalekit_outbox as outbox;
#[cfg(feature = "session")]
pub use scalekit_session as session;
#[cfg(feature = "shard")]
pub use scalekit_shard as shard;
pub use stack::Stack;

#[cfg(feature = "postgres")]
pub use scalekit_core::db;
#[cfg(feature = "redis")]
pub use scalekit_core::redis;
#[cfg(feature = "slo")]
pub use scalekit_core::slo;
pub use scalekit_core::{
    AfterCommit, Clock, Error, ErrorKind, Gate, Hop, KeyRing, ManualClock, Observer, OperationId, Position,
    Principal, Result, Signals, SystemClock, Timing, Worker, Workers, http,
};
