//! A store for tower-sessions on our own, for an application that changes nothing but its store.

mod base;
mod fields;
#[macro_use]
mod glue;
mod operations;
#[cfg(feature = "tower-sessions-014")]
mod v014;
#[cfg(feature = "tower-sessions-015")]
mod v015;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use scalekit_core::{Clock, Error, ErrorKind, Result, SystemClock};

use self::{base::Bases, operations::Counters};
use crate::{Store, address::check_namespace, store::Rules};

/// Below any idle time that a session has: a read with it moves no deadline.
const READ: Duration = Duration::from_millis(100);
/// No session lives longer: its expiry date decides, and this is beyond any.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A `tower_sessions_core::SessionStore` over any [`Store`], of core 0.14 with the feature `tower-sessions-014` and of
/// core 0.15 with `tower-sessions-015`. Clones share all they know.
///
/// An application on tower-sessions, or on axum-login, gives it to its `SessionManagerLayer` and stays as it is.
/// Only its sessions of before are not there.
///
/// ```
/// use scalekit_session::{MemoryStore, TowerSessionStore};
///
/// # fn main() -> scalekit_core::Result<()> {
/// // In production `RedisStore::new(Redis::open("redis://..")?)`, the same for all processes.
/// let store = TowerSessionStore::new(MemoryStore::new()).namespace("shop")?;
/// # #[cfg(feature = "tower-sessions-014")]
/// let layer = axum_login::tower_sessions::SessionManagerLayer::new(store.clone());
/// assert_eq!(store.metrics().dropped, 0);
/// # Ok(())
/// # }
/// ```
///
/// | operation | round trips |
/// |---|---|
/// | `create` | 1 |
/// | `load` | 1 |
/// | `save` | 1; 0 if nothing has changed; 2 if what it was loaded as is not known any more |
/// | `delete` | 1 |
///
/// # Guarantees
///
/// - Each key of the data is a field of its own, and `save` sends the keys that changed since the record was loaded,
///   and no others: parallel requests that change different keys, on any instances, are all kept.
/// - A session that was deleted, or whose id was cycled, is not brought back: a `save` that comes late is dropped and
///   counted in [`TowerMetrics::dropped`]. It is no error, which tower-sessions would make a 500 of.
/// - The expiry date is kept exactly, and compared with the clock of the process at each `load`. The store forgets the
///   session by itself, not before that date (or 100 years) and at most a ninth of the remaining time after it;
///   where a `save` brings the date forward, at the former one. It is as durable as the store is configured to be.
/// - Values come back as they were, floating-point numbers to the bit.
/// - The store holds a digest of the id: whoever reads a dump cannot take a session over.
///
/// # Non-guarantees
///
/// - Of two parallel changes of one key the later wins. All that axum-login knows is one key.
/// - What a record was loaded as is remembered in the process, up to 16 MiB in all (some 30,000 loads of
///   small sessions) and the oldest forgotten first. A record that is not known (it waited that long, the answer to its
///   last save was lost, or it went through a cache that copies it) is saved as a whole:
///   its values win over those of parallel requests, and keys that it lacks are removed. [`TowerMetrics::whole`]
///   counts them.
/// - Behind a `CachingSessionStore`, what another node has changed or deleted is seen late, as it is with any store.
/// - Cycling an id, as axum-login does at a login, is a deletion and a creation: what others change between the load
///   and the deletion is lost, and if the process dies in between, so is the session.
/// - Cookies are tower-sessions' own: a late response can set that of a session which is gone in the place of a newer one.
/// - When the store fails, tower-sessions answers 500, and what the handler has done stands. [`Sessions`](crate::Sessions)
///   answers 503 there, revokes a user's sessions, and knows counters: what this shim cannot do.
///
/// # Errors
///
/// `Backend` if the store fails or a limit of [`size`](Self::size) is passed; `Encode` for a value that is nested deeper
/// than 127 levels; `Decode` for a stored one that cannot be read. None of them tells an id.
#[derive(Clone)]
pub struct TowerSessionStore {
    store: Arc<dyn Store>,
    namespace: Arc<str>,
    rules: Rules,
    budget: Duration,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    bases: Arc<Mutex<Bases>>,
}

impl TowerSessionStore {
    /// Sessions in this store, under the namespace `tower-session`.
    pub fn new(store: impl Store) -> Self {
        Self {
            store: Arc::new(store),
            namespace: "tower-session".into(),
            rules: Rules {
                idle: READ,
                absolute: FOREVER,
                grace: Duration::from_secs(20),
                max_fields: 512,
                max_bytes: 64 * 1024,
                max_sessions: 1,
            },
            budget: Duration::from_millis(200),
            clock: Arc::new(SystemClock),
            counters: Arc::default(),
            bases: Arc::default(),
        }
    }

    /// What keys in the store start with; `tower-session` by default. Services with different namespaces share a store
    /// without seeing each other's sessions.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it is not 1 to 64 of `A-Za-z0-9._-:`.
    ///
    /// ```
    /// use scalekit_session::{MemoryStore, TowerSessionStore};
    ///
    /// assert!(TowerSessionStore::new(MemoryStore::new()).namespace("shop").is_ok());
    /// assert!(TowerSessionStore::new(MemoryStore::new()).namespace("{shop}").is_err());
    /// ```
    pub fn namespace(mut self, namespace: impl Into<String>) -> Result<Self> {
        let namespace = namespace.into();
        check_namespace(&namespace)?;
        self.namespace = namespace.into();
        Ok(self)
    }

    /// How many keys a session's data may have (512 by default), and how many bytes their names and JSON texts
    /// (64 KiB by default). What grows beyond is refused as `Backend`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for 0, or above 10,000 keys or 1 MiB.
    ///
    /// ```
    /// use scalekit_session::{MemoryStore, TowerSessionStore};
    ///
    /// let store = TowerSessionStore::new(MemoryStore::new()).size(64, 16 * 1024)?;
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn size(mut self, max_fields: usize, max_bytes: usize) -> Result<Self> {
        if !(1..=10_000).contains(&max_fields) || !(1..=1 << 20).contains(&max_bytes) {
            return Err(Error::new(ErrorKind::Config, "sessions: 1 to 10,000 fields and 1 byte to 1 MiB"));
        }
        self.rules.max_fields = max_fields;
        self.rules.max_bytes = max_bytes;
        Ok(self)
    }

    /// How long one operation may wait for the store; 200 ms by default.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for 0.
    ///
    /// ```
    /// use std::time::Duration;
    /// use scalekit_session::{MemoryStore, TowerSessionStore};
    ///
    /// let store = TowerSessionStore::new(MemoryStore::new()).budget(Duration::from_millis(100))?;
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn budget(mut self, budget: Duration) -> Result<Self> {
        if budget.is_zero() {
            return Err(Error::new(ErrorKind::Config, "sessions: a budget above 0"));
        }
        self.budget = budget;
        Ok(self)
    }

    /// The clock that expiry dates are compared with; the machine's by default, which tower-sessions makes them by.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What happened so far in this process.
    pub fn metrics(&self) -> TowerMetrics {
        TowerMetrics {
            dropped: self.counters.dropped.load(Ordering::Relaxed),
            whole: self.counters.whole.load(Ordering::Relaxed),
        }
    }

    fn bases(&self) -> MutexGuard<'_, Bases> {
        self.bases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Shows no key and no content.
impl fmt::Debug for TowerSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerSessionStore").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// A snapshot of what happened in one [`TowerSessionStore`] and its clones since it was made; see there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TowerMetrics {
    /// Saves that were dropped because the session had ended.
    pub dropped: u64,
    /// Saves of the whole record, because what it was loaded as was not known any more.
    pub whole: u64,
}
