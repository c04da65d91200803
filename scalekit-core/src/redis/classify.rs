//! From an error of the `redis` crate to one of the family: was anything executed, is the server down?

use ::redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};

use super::tls::refusal;
use crate::{Error, ErrorKind};

/// What a failure says about the connection and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server answered; connection and server are fine.
    Answered,
    /// The server answered that it cannot serve now, and did nothing.
    NotReady,
    /// This connection leads to a server that takes no writes: connect anew.
    Elsewhere,
    /// Another node serves the slot, or will in a moment, and nothing was executed: ask again.
    Moved,
    /// Nobody serves the slot now, and nothing was executed.
    Unsettled,
    /// The script is not there, and nothing was executed.
    NoScript,
    /// The connection is gone.
    Lost,
}

/// Server codes after which nothing was executed and a later try can succeed.
const NOT_NOW: [&str; 7] = ["BUSY", "OOM", "MISCONF", "NOREPLICAS", "UNBLOCKED", "UNKILLABLE", "INPROG"];

pub(super) fn verdict(error: &RedisError) -> Verdict {
    match error.kind() {
        RedisKind::Server(kind) => match kind {
            ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown => Verdict::NotReady,
            ServerErrorKind::ClusterDown => Verdict::Unsettled,
            ServerErrorKind::ReadOnly => Verdict::Elsewhere,
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain => Verdict::Moved,
            ServerErrorKind::NoScript => Verdict::NoScript,
            _ => Verdict::Answered,
        },
        RedisKind::Io | RedisKind::Parse | RedisKind::AuthenticationFailed => Verdict::Lost,
        _ => Verdict::Answered,
    }
}

/// The error of a command that was handed to a live connection.
pub(super) fn sent(error: RedisError) -> Error {
    let not_now = error.code().is_some_and(|code| NOT_NOW.contains(&code));
    let (kind, message) = match (verdict(&error), error.kind()) {
        (Verdict::Lost, RedisKind::Parse) => {
            (ErrorKind::OutcomeUnknown, "redis answered what cannot be read")
        }
        (Verdict::Lost, _) => (ErrorKind::OutcomeUnknown, "the connection to redis was lost"),
        (Verdict::NotReady | Verdict::Elsewhere | Verdict::Moved | Verdict::Unsettled, _) => {
            (ErrorKind::Unavailable, "redis is not ready")
        }
        (Verdict::Answered, _) if not_now => (ErrorKind::Unavailable, "redis does not take the command now"),
        (_, RedisKind::Server(ServerErrorKind::NoPerm)) => {
            (ErrorKind::Internal, "redis denies the command to this user")
        }
        _ => (ErrorKind::Internal, "redis refused the command"),
    };
    Error::new(kind, message).with_source(error)
}

/// The error of a command for which no connection could be made: nothing was sent.
pub(super) fn unconnected(error: RedisError) -> Error {
    let message = match error.kind() {
        RedisKind::AuthenticationFailed => "redis refuses the credentials",
        RedisKind::RESP3NotSupported => "redis is older than 6.0, or its URL needs ?protocol=resp2",
        _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) => "redis refuses the credentials",
        _ => refusal(&error).unwrap_or("redis cannot be reached"),
    };
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}
