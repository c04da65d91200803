//! What a database's answer means: the one place that reads SQLSTATE.

use std::time::Duration;

use sqlx::error::{DatabaseError, Error as SqlxError};

use crate::{Error, ErrorKind};

impl From<SqlxError> for Error {
    /// For a statement inside a transaction that has not been told to commit: whatever failed, nothing of it
    /// will stay, so a lost connection is [`ErrorKind::Unavailable`]. A failed COMMIT is judged by
    /// [`Tx::commit`](crate::db::Tx::commit).
    fn from(error: SqlxError) -> Self {
        let (kind, message) = judge(&error);
        let out = Self::new(kind, message).with_source(error);
        if kind == ErrorKind::Unavailable { out.with_retry_after(Duration::from_secs(1)) } else { out }
    }
}

fn judge(error: &SqlxError) -> (ErrorKind, &'static str) {
    match error {
        SqlxError::Database(answer) => judge_answer(answer.as_ref()),
        SqlxError::Io(_)
        | SqlxError::Protocol(_)
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed
        | SqlxError::BeginFailed => (ErrorKind::Unavailable, "the connection to the database was lost"),
        SqlxError::PoolTimedOut => (ErrorKind::Unavailable, "no database connection became free in time"),
        SqlxError::Configuration(_) | SqlxError::Tls(_) => {
            (ErrorKind::Config, "the database cannot be connected to as configured")
        }
        SqlxError::Decode(_) | SqlxError::ColumnDecode { .. } | SqlxError::TypeNotFound { .. } => {
            (ErrorKind::Corrupt, "a stored value cannot be read")
        }
        _ => (ErrorKind::Internal, "the database statement failed"),
    }
}

fn judge_answer(answer: &dyn DatabaseError) -> (ErrorKind, &'static str) {
    let code = answer.code().unwrap_or_default();
    match code.as_ref() {
        "40001" | "40P01" => (ErrorKind::Conflict, "a concurrent transaction won"),
        "55P03" => (ErrorKind::Conflict, "a lock was not had in time"),
        "57014" => (ErrorKind::Unavailable, "the statement ran into its time-out"),
        "25P02" => (ErrorKind::Aborted, "an earlier statement of the transaction had failed"),
        "22021" => (ErrorKind::Invalid, "a text holds a character that the database cannot store"),
        "25P03" => (ErrorKind::Unavailable, "the transaction sat idle for too long"),
        _ if is_gone(answer) => (ErrorKind::Unavailable, "the database is shutting down, starting or full"),
        // SQLite's primary codes BUSY and LOCKED, also in their extended forms.
        number
            if matches!(number.parse::<u32>(), Ok(n) if n < 10_000 && matches!(n & 0xFF, 5 | 6))
                && code.len() < 5 =>
        {
            (ErrorKind::Conflict, "the database file is locked")
        }
        _ => (ErrorKind::Internal, "the database refused the statement"),
    }
}

/// Whether the server ends or refuses the session, so that the connection is of no further use.
pub(crate) fn is_gone(answer: &dyn DatabaseError) -> bool {
    answer.code().is_some_and(|code| {
        code.starts_with("08")
            || code.starts_with("53")
            || matches!(code.as_ref(), "25006" | "57P01" | "57P02" | "57P03" | "57P05")
    })
}

/// Whether the connection itself is broken, as opposed to a statement that was refused.
pub(crate) fn is_broken(error: &SqlxError) -> bool {
    match error {
        SqlxError::Database(answer) => is_gone(answer.as_ref()),
        SqlxError::Io(_) | SqlxError::Protocol(_) | SqlxError::WorkerCrashed | SqlxError::BeginFailed => true,
        _ => false,
    }
}
