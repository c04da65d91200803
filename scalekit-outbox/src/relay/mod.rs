//! The relay: carries committed events of one database to a sink.

mod flight;
mod meter;
mod report;
mod run;
mod work;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use scalekit_core::{
    Error, ErrorKind, Result, Signals, Worker,
    db::{Postgres, TxSource},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{meter::Meter, report::report, run::Run, work::BOUND};
use crate::{Lag, Outbox, OutboxConnection, OutboxDb, Sink, Waker};

/// Longest name of a database, in bytes.
const NAME: usize = 64;
const DAY: Duration = Duration::from_secs(86_400);
const LONGEST_RETENTION: Duration = Duration::from_secs(36_500 * 86_400);

/// A worker that carries the committed events of one database to a [`Sink`].
///
/// Any number of relays of one database run side by side, in one process or many: they divide the lanes among
/// them, and the lanes of a relay that died are taken over when its lease has run out.
///
/// **Guarantee**: at least once, with stable ids, in order per key. **Not**: order between keys; exactly once
/// (see [`Inbox`](crate::Inbox)); events of commits that a failover lost may have been sent.
///
/// | what fails | what happens |
/// |---|---|
/// | the sink | the batch is repeated, after 0.05 to 5 s, without limit; nothing is lost |
/// | one event in the sink | it is parked with all later events of its key; other keys go on |
/// | the database | nothing is sent; it is tried again every 250 ms |
/// | this process | its lanes go to others within the lease and a second; what was not acknowledged is repeated |
///
/// A database that was restored from a dump, upgraded into a new system or fed by logical replication has other
/// transaction ids than its ticks speak of. The first relay that runs on it notices, sends what is not known to be
/// acknowledged once more, in order per key, and goes on under a new epoch. Run none during the move, and let the clocks
/// of the two systems differ by less than the move takes: what waits is ordered by the time of its append then, and what
/// was appended after the move is told by it. A copy of the files (a volume's snapshot) is not recognised as such: a sink that has later events refuses its lanes until
/// [`rebase`](Self::rebase).
///
/// **Round trips**: four short transactions per busy round, whatever the number of events; when idle, one a second.
///
/// ```no_run
/// # use std::sync::Arc;
/// # async fn f(pool: sqlx::PgPool) -> scalekit_core::Result<()> {
/// use scalekit_core::{Workers, db::PoolSource};
/// use scalekit_outbox::{MemorySink, Outbox, Relay};
///
/// let outbox = Outbox::new();
/// let sink = Arc::new(MemorySink::new(1024));
/// let relay = Relay::new("main", Arc::new(PoolSource::new(pool)), sink)?.with_outbox(&outbox);
/// let mut workers = Workers::default();
/// workers.spawn(Arc::new(relay));
/// # Ok(()) }
/// ```
pub struct Relay<D: OutboxDb = Postgres> {
    id: Uuid,
    database: Arc<str>,
    source: Arc<dyn TxSource<D>>,
    sink: Arc<dyn Sink>,
    waker: Waker,
    lease: Duration,
    retention: Duration,
    meter: Meter,
    signals: Signals,
}

impl<D: OutboxDb> Relay<D> {
    /// A relay from the one database that `source` opens transactions on, known to sinks by this name.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] unless the name has 1 to 64 bytes of `[A-Za-z0-9_-]`.
    pub fn new(database: &str, source: Arc<dyn TxSource<D>>, sink: Arc<dyn Sink>) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=NAME).contains(&database.len()) || !database.bytes().all(plain) {
            let message =
                format!("a database's name must be 1 to {NAME} of A-Z, a-z, 0-9, _ and -: {database:?}");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Self {
            id: Uuid::now_v7(),
            database: database.into(),
            source,
            sink,
            waker: Waker::default(),
            lease: Duration::from_secs(10),
            retention: DAY,
            meter: Meter::default(),
            signals: Signals::default(),
        })
    }

    /// Hears of what is appended through this outbox at once.
    #[must_use]
    pub fn with_outbox(mut self, outbox: &Outbox) -> Self {
        self.waker = outbox.waker();
        self
    }

    /// How long the lanes of a relay that died stay its own; 10 s unless said otherwise, at least 1 s and at most
    /// a day. All relays of a database must agree on it.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(Duration::from_secs(1), DAY);
        self
    }

    /// How long an event stays in its table after it was appended, if it was sent; a day unless said otherwise, at
    /// most 36,500 days: longer ones count as that, which the databases' clocks can still subtract.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention.min(LONGEST_RETENTION);
        self
    }

    /// Reports how long each batch is on its way to the sink, and every five seconds what waits in the database, which
    /// costs a transaction of three round trips.
    #[must_use]
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// The name of its database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Makes it look for events now.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// What waits in the database, for all its relays together. Round trips: 3.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn lag(&self) -> Result<Lag> {
        let (seconds, events) = self.step(BOUND, async |conn, pooler| conn.lag(pooler).await).await?;
        Ok(Lag { seconds, events, rate: self.meter.per_second() })
    }

    /// The first `limit` events that were set aside, oldest first, each key's first one only. Round trips: 3.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn parked(&self, limit: u16) -> Result<Vec<Parked>> {
        self.step(BOUND, async |conn, pooler| conn.parked(limit, pooler).await).await
    }

    /// Sends a parked event, and those of its key that wait, again; `false` if there is none of that id.
    ///
    /// # Errors
    /// The database's failure.
    pub async fn redrive(&self, event: Uuid) -> Result<bool> {
        let found = self.step(BOUND, async |conn, pooler| conn.redrive(event, pooler).await).await?;
        if found {
            self.wake();
        }
        Ok(found)
    }
}

impl Relay<Postgres> {
    /// Begins a new epoch of the log, above all places that this database has given before, and sends once more what
    /// is not acknowledged; how many events that are. For a database that was put back to an earlier state, whose
    /// sink refuses its lanes as older than what it has. Relays may run meanwhile; appending goes on.
    ///
    /// Never on a database that another one has replaced: two would write the same log. It reads every event that the
    /// table holds and writes those that were not acknowledged, in one transaction; no relay sends meanwhile. Dropped, it
    /// ends in the database within a second (before Postgres 14: when the statement is done). Round trips: 7.
    ///
    /// # Errors
    /// The database's failure; nothing has changed then.
    pub async fn rebase(&self) -> Result<u64> {
        let events = self.rebased(true).await?.unwrap_or_default();
        self.wake();
        Ok(events)
    }
}

#[async_trait]
impl<D: OutboxDb> Worker for Relay<D> {
    fn name(&self) -> &'static str {
        "outbox relay"
    }

    async fn run(&self, cancel: CancellationToken) {
        tokio::select! {
            () = Run::new(self, cancel).until_cancelled() => {}
            () = report(self) => {}
        }
    }
}

impl<D: OutboxDb> fmt::Debug for Relay<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("database", &self.database)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// An event that was set aside.
///
/// ```no_run
/// # async fn f(relay: scalekit_outbox::Relay) -> scalekit_core::Result<()> {
/// for parked in relay.parked(100).await? {
///     println!("{} {}: {}, {} wait behind it", parked.kind, parked.id, parked.reason, parked.behind);
///     relay.redrive(parked.id).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub kind: String,
    /// Its lane.
    pub lane: u8,
    /// Why it was set aside.
    pub reason: String,
    /// Whether it is tried again by itself.
    pub retry: bool,
    /// How often it was tried; 0 where that is not counted.
    pub attempts: u32,
    /// How long ago it was set aside, in seconds.
    pub seconds: u64,
    /// How many events of its key wait behind it; counting stops at 1,000. 0 where they are not counted.
    pub behind: u32,
}
