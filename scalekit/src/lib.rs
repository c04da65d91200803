//! scalekit
