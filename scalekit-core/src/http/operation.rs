//! The extractor that hands a handler the id of the operation it executes.

use axum_core::extract::FromRequestParts;
use http::{StatusCode, request::Parts};

use super::Problem;
use crate::OperationId;

impl<S: Sync> FromRequestParts<S> for OperationId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().copied().ok_or_else(|| {
            tracing::error!("a handler asks for `OperationId`, but no layer claimed a key on this route");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error")
        })
    }
}
