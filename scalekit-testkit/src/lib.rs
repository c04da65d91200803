//! scalekit-testkit
