//! How a handler gets the transaction, and how the layer gets it back.

use std::sync::{Arc, Mutex, PoisonError};

use axum_core::extract::FromRequestParts;
use http::{StatusCode, request::Parts};

use super::{Db, Pooler, Tx, tx::Home};
use crate::http::Problem;

/// The request extension in which a layer lends its transaction to the handler.
///
/// The handler's [`Tx`] returns here when it is dropped, so the layer can store the response and commit.
///
/// ```no_run
/// # async fn f<D: scalekit_core::db::Db>(tx: scalekit_core::db::Tx<D>) {
/// use scalekit_core::db::TxSlot;
///
/// let slot = TxSlot::lend(tx);
/// // request.extensions_mut().insert(slot.clone()); run the handler, which extracts `Tx`; then
/// if let Some(tx) = slot.reclaim() { /* store, commit */ }
/// # }
/// ```
pub struct TxSlot<D: Db> {
    home: Home<D>,
    pooler: Pooler,
}

impl<D: Db> TxSlot<D> {
    /// A slot that holds this transaction.
    pub fn lend(tx: Tx<D>) -> Self {
        let pooler = tx.pooler();
        Self { home: Arc::new(Mutex::new(tx.into_open())), pooler }
    }

    /// Takes the transaction; `None` while a handler (or a task it left behind) still holds it.
    pub fn reclaim(&self) -> Option<Tx<D>> {
        let open = self.home.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Tx::owned(open, self.pooler))
    }

    fn borrow(&self) -> Option<Tx<D>> {
        let open = self.home.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Tx::lent(open, Arc::clone(&self.home), self.pooler))
    }
}

impl<D: Db> Clone for TxSlot<D> {
    fn clone(&self) -> Self {
        Self { home: Arc::clone(&self.home), pooler: self.pooler }
    }
}

impl<D: Db> std::fmt::Debug for TxSlot<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxSlot").field("database", &D::NAME).finish()
    }
}

impl<D: Db, S: Sync> FromRequestParts<S> for Tx<D> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let lent = parts.extensions.get::<TxSlot<D>>().and_then(TxSlot::borrow);
        lent.ok_or_else(|| {
            tracing::error!(
                database = D::NAME,
                "a handler asks for `Tx`, but no layer opened one on this route, or it was taken already"
            );
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
        })
    }
}
