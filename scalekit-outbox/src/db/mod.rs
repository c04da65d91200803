//! The two databases, as far as the outbox needs to tell them apart.

mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::future::Future;

use scalekit_core::{
    Result,
    db::{Db, DbConnection, Pooler},
};

use crate::Event;

pub(crate) mod sealed {
    /// Closes [`super::OutboxDb`] and [`super::OutboxConnection`] to other crates' types.
    pub trait Sealed {}
}

/// A database that can hold an outbox: Postgres, or SQLite with the feature `sqlite`. Sealed.
///
/// ```
/// fn name<D: scalekit_outbox::OutboxDb>() -> &'static str { D::NAME }
/// assert_eq!(name::<scalekit_core::db::Postgres>(), "PostgreSQL");
/// ```
pub trait OutboxDb: Db<Connection: OutboxConnection> + sealed::Sealed {}

/// A connection of an [`OutboxDb`]. Sealed.
pub trait OutboxConnection: DbConnection + sealed::Sealed {
    #[doc(hidden)]
    fn append(&mut self, events: &[Event], pooler: Pooler) -> impl Future<Output = Result<()>> + Send;
}

/// The headers as the JSON object that is stored; `None` if there are none.
fn headers_text(event: &Event) -> Option<String> {
    let some = !event.headers.is_empty();
    some.then(|| serde_json::to_string(&event.headers).unwrap_or_default())
}
