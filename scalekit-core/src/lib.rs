//! scalekit-core
