//! What must follow a commit in another store, recorded in the commit itself.

use std::{any::Any, fmt, str::FromStr};

use async_trait::async_trait;

use crate::{Error, ErrorKind, Result};

/// The id of one executed operation, ordered by its shard's clock.
///
/// The claim takes it from the database's clock, so that of two operations of one principal the later
/// one is greater. It is text-encoded with a fixed width, so that its text sorts as it does.
///
/// ```
/// use scalekit_core::OperationId;
///
/// let (first, second) = (OperationId::new(1_000, 7), OperationId::new(1_001, 3));
/// assert!(first < second && first.to_string() < second.to_string());
/// assert_eq!(first.to_string().parse::<OperationId>()?, first);
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId {
    micros: u64,
    tie: u64,
}

impl OperationId {
    /// An operation claimed at `micros` microseconds since the Unix epoch; `tie` tells operations of the
    /// same microsecond apart.
    pub const fn new(micros: u64, tie: u64) -> Self {
        Self { micros, tie }
    }

    /// When it was claimed, in microseconds since the Unix epoch by the shard's clock.
    pub const fn micros(self) -> u64 {
        self.micros
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.micros, self.tie)
    }
}

impl FromStr for OperationId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        let bits = bits.ok_or_else(|| Error::new(ErrorKind::Invalid, "not an operation id"))?;
        Ok(Self { micros: (bits >> 64) as u64, tie: bits as u64 })
    }
}

/// A store beside the database whose change must follow the commit: a session, for one.
///
/// The layer that owns the transaction calls it in this order: [`enlist`](Self::enlist) before the handler,
/// [`record`](Self::record) after it; the bytes are stored in the transaction; after COMMIT,
/// [`apply`](Self::apply). Whoever finds the committed record later (a replay) applies the same bytes again,
/// so an apply that was lost is made good and one that arrived is not repeated. After a rollback it calls
/// [`discard`](Self::discard) instead.
///
/// | what happened | calls |
/// |---|---|
/// | committed | `enlist`, `record`, `apply` |
/// | rolled back or panicked | `enlist`, `discard` |
/// | a duplicate that waited, then runs | `refresh`, `enlist`, ... |
/// | a replay | `apply` with the stored bytes |
///
/// ```
/// use std::sync::Mutex;
/// use async_trait::async_trait;
/// use scalekit_core::{AfterCommit, OperationId, Result};
///
/// #[derive(Default)]
/// struct Loyalty { earned: Mutex<Option<u8>>, seen: Mutex<Vec<OperationId>> }
///
/// #[async_trait]
/// impl AfterCommit for Loyalty {
///     fn name(&self) -> &'static str { "loyalty" }
///     fn record(&self) -> Result<Option<Vec<u8>>> {
///         Ok(self.earned.lock().unwrap().take().map(|points| vec![points]))
///     }
///     async fn apply(&self, operation: OperationId, _recorded: &[u8]) -> Result<()> {
///         let mut seen = self.seen.lock().unwrap();
///         if !seen.contains(&operation) { seen.push(operation); }
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait AfterCommit: Any + Send + Sync {
    /// The name under which its bytes are stored; stable across versions.
    fn name(&self) -> &'static str;

    /// From here on only changes that can be recorded are allowed.
    fn enlist(&self) {}

    /// Takes what the handler asked for, as bytes that [`apply`](Self::apply) understands; `None` if nothing.
    ///
    /// # Errors
    /// A change that cannot be recorded; the transaction is then rolled back.
    fn record(&self) -> Result<Option<Vec<u8>>>;

    /// Forgets what was asked for: the transaction was rolled back.
    fn discard(&self) {}

    /// Carries out recorded bytes, at most once for an operation id.
    ///
    /// # Errors
    /// The store's failure. The commit stands; the caller retries in the background and at each replay.
    async fn apply(&self, operation: OperationId, recorded: &[u8]) -> Result<()>;

    /// Reads again what an earlier holder of the same key may have changed.
    ///
    /// # Errors
    /// The store's failure; the request is then refused before its handler runs.
    async fn refresh(&self) -> Result<()> {
        Ok(())
    }
}
