//! Where events go.

use async_trait::async_trait;
use scalekit_core::Error;

use crate::{Lane, Record};

/// A log, a broker or a queue that takes events from the relay.
///
/// The relay publishes one batch of a lane at a time, in order, and repeats a batch whose answer it did not get:
/// with the same ids, positions and order.
///
/// ```
/// use async_trait::async_trait;
/// use scalekit_outbox::{Lane, Record, Sink, SinkError};
///
/// struct Print;
/// #[async_trait]
/// impl Sink for Print {
///     async fn publish(&self, lane: &Lane, batch: &[Record]) -> Result<(), SinkError> {
///         for record in batch { println!("{} {:?}", lane.number(), record); }
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// Takes the batch, durably in the sink's own sense, and only then returns.
    ///
    /// May be dropped at any await; the batch is then repeated, perhaps by another relay.
    ///
    /// # Errors
    /// See [`SinkError`]: each kind says what was taken and what the relay does.
    async fn publish(&self, lane: &Lane, batch: &[Record]) -> Result<(), SinkError>;
}

/// Why a sink did not take a batch.
///
/// ```
/// use scalekit_core::{Error, ErrorKind};
/// use scalekit_outbox::SinkError;
/// let down = SinkError::Unavailable(Error::new(ErrorKind::Unavailable, "redis refuses connections"));
/// assert_eq!(down.to_string(), "the sink cannot be reached");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SinkError {
    /// The sink is down or slow; any part of the batch may have been taken. The relay repeats the whole batch,
    /// with backoff and without limit.
    Unavailable(Error),
    /// These records cannot be taken, however often they are sent. Every record of another key was taken, and of
    /// a named key those before the named record. The relay parks the named record and all later ones of its key.
    Poison(Vec<Poisoned>),
    /// The lane's log does not agree with this relay: it lost the lane, or the log was written by somebody else.
    /// Nothing is acknowledged; the relay lets go of the lane and reports.
    Fenced(Error),
}

impl std::fmt::Display for SinkError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unavailable(_) => "the sink cannot be reached",
            Self::Poison(_) => "the sink refuses records of the batch",
            Self::Fenced(_) => "the sink has a later owner's records of the lane",
        })
    }
}

impl std::error::Error for SinkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unavailable(error) | Self::Fenced(error) => Some(error),
            Self::Poison(_) => None,
        }
    }
}

/// One record that a sink cannot take.
///
/// ```
/// let poisoned = scalekit_outbox::Poisoned { index: 3, reason: "its schema is unknown".into(), retry: false };
/// assert_eq!(poisoned.index, 3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// Its place in the batch.
    pub index: usize,
    /// Why, for operators; without secrets and ids.
    pub reason: String,
    /// Whether to try again every few seconds; otherwise only when told to.
    pub retry: bool,
}
