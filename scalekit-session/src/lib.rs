//! scalekit-session
