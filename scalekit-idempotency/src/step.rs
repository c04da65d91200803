//! The steps of an execution, for observers.

/// A step of one execution, told to [`Builder::with_observer`](crate::Builder::with_observer) when it is reached.
///
/// ```
/// # async fn f(pool: sqlx::PgPool) -> scalekit_core::Result<()> {
/// use scalekit_core::db::PoolSource;
/// use scalekit_idempotency::{Idempotency, Step};
///
/// let idempotency = Idempotency::builder(PoolSource::new(pool))
///     .by_principal()
///     .with_observer(|step| if step == Step::BeforeCommit { tracing::debug!("about to commit") })
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// The body is read; no transaction is open.
    BeforeClaim,
    /// The key is claimed; the handler has not run.
    AfterClaim,
    /// The handler has returned; nothing is stored with the key.
    AfterHandler,
    /// The response is stored with the key, uncommitted.
    BeforeCommit,
    /// Committed; other stores know nothing of it.
    AfterCommit,
    /// The participants have been told; the client knows nothing of it.
    BeforeResponse,
}
