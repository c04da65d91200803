//! The store for tower-sessions 0.15.

session_store!(tower_sessions_core_015);
