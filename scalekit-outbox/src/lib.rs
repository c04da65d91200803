//! scalekit-outbox
