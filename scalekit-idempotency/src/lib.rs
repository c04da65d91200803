//! scalekit-idempotency
