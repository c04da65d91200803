//! What stands between the service and Postgres, as far as prepared statements care.

/// How connections reach Postgres.
///
/// A statement with binds is prepared in one message and executed in the next. A pooler in transaction mode
/// that does not follow prepared statements may hand the two to different servers, so with [`Legacy`](Self::Legacy)
/// every statement runs inside a transaction and is not kept prepared, which costs a round trip each.
///
/// ```
/// use scalekit_core::db::Pooler;
/// assert!(Pooler::Direct.keeps_statements() && !Pooler::Legacy.keeps_statements());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooler {
    /// No pooler, or one in session mode.
    #[default]
    Direct,
    /// A pooler in transaction mode that follows prepared statements (pgbouncer 1.21 and later).
    Tracking,
    /// A pooler in transaction mode that does not.
    Legacy,
}

impl Pooler {
    /// Whether a statement may stay prepared on its connection.
    pub const fn keeps_statements(self) -> bool {
        !matches!(self, Self::Legacy)
    }
}
