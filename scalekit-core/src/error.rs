//! The one error of the family: what failed, whether a retry can help, and the cause as it was.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// A system failure: a store that is down, a limit that was passed, a value that cannot be read.
///
/// A *domain* result (a replay, a conflict that has an answer, a session that is gone) is never an
/// `Error` but a variant of the operation's own enum. `Display` prints one level; the cause is kept and
/// reached by [`source`](StdError::source).
///
/// ```
/// use scalekit_core::{Error, ErrorKind};
///
/// let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// let error = Error::new(ErrorKind::Unavailable, "redis refuses connections").with_source(io);
/// assert!(error.is_transient());
/// assert_eq!(error.to_string(), "redis refuses connections");
/// assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "connection refused");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<Source>,
}

/// What kind of failure an [`Error`] is; it decides the HTTP answer and whether to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's input is refused; the message names it. HTTP 422.
    Invalid,
    /// A limit that the caller can see was passed. HTTP 413.
    TooLarge,
    /// The configuration cannot work; raised at construction, with the arithmetic. HTTP 500.
    Config,
    /// The library is wired or called wrongly; the message says what is missing. HTTP 500.
    Misuse,
    /// The store cannot be reached now, and **nothing was executed**. HTTP 503.
    Unavailable,
    /// The store did not answer in time or went away: **it may have been executed**. HTTP 503.
    OutcomeUnknown,
    /// A concurrent change won, also after the bounded re-runs. HTTP 409.
    Conflict,
    /// The transaction was rolled back, so nothing of it happened. HTTP 500.
    Aborted,
    /// A stored value cannot be read. HTTP 500.
    Corrupt,
    /// Anything else that the store answered. HTTP 500.
    Internal,
}

impl Error {
    /// An error of this kind; `message` is for operators and must hold no secret and no id.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), retry_after: None, source: None }))
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error with a hint when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// When to try again, if anything is known about it.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same call can succeed later without a change by the caller.
    ///
    /// After [`ErrorKind::OutcomeUnknown`] the first call may have taken effect: repeat it only under
    /// the same idempotency key.
    pub fn is_transient(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Unavailable | ErrorKind::OutcomeUnknown | ErrorKind::Conflict)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
