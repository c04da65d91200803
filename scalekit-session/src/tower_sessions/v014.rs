//! The store for tower-sessions 0.14, which axum-login 0.18 uses.

session_store!(tower_sessions_core_014);
