//! What the crates of the family report of themselves: how long an operation took, how it ended, what lies behind.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::Result;

/// Where on the way of a request, or of what follows it, an operation belongs.
///
/// ```
/// use scalekit_core::Hop;
/// assert_eq!(Hop::Cache.as_str(), "cache");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Hop {
    /// What stands before the service: a proxy, the accept queue.
    Edge,
    /// The service itself, or another one that it calls.
    Service,
    /// A database.
    Db,
    /// A broker, an outbox, a consumer.
    Queue,
    /// A store that can be lost: sessions, caches.
    Cache,
}

impl Hop {
    /// Every hop.
    pub const ALL: [Self; 5] = [Self::Edge, Self::Service, Self::Db, Self::Queue, Self::Cache];

    /// The value of the `hop` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Service => "service",
            Self::Db => "db",
            Self::Queue => "queue",
            Self::Cache => "cache",
        }
    }
}

/// Takes what is reported; with the feature `slo`, `slo::Slo` is one.
///
/// Called on the way of requests: it must neither wait nor fail. Names are static, so that no client can add to them.
pub trait Observer: Send + Sync + 'static {
    /// An operation ended so after this time.
    fn ended(&self, hop: Hop, operation: &'static str, outcome: &'static str, took: Duration);

    /// So many items of a queue wait now, the oldest for so many seconds. `of` tells queues of one name apart: a
    /// database, a partition.
    fn behind(&self, queue: &'static str, of: &str, items: u64, seconds: f64);

    /// Somebody has begun to look at this queue: until a first observation comes, its lag is not known, which must show.
    fn expects(&self, _queue: &'static str, _of: &str) {}
}

/// Where to report to, if anywhere: a cheap handle that every crate of the family takes.
///
/// By default nothing is reported, and no clock is read. An operation whose code panics is reported as `panicked` in place
/// of `cancelled`.
///
/// | reported by | hop | operation | outcomes |
/// |---|---|---|---|
/// | `db::PoolSource` | db | `acquire`: the wait for a connection on which a transaction has begun | `ok`, `error`, `cancelled` |
/// | `db::Tx` | db | `transaction`: from the answer to BEGIN to its end | `committed`, `rolled_back`, `unknown` |
/// | sessions | cache | `session_load` | `ok`, `none` for no session, `reused` for a stolen or kept secret, `error`, `cancelled` |
/// | sessions | cache | `session_commit` | `ok`, `gone` for one that had ended, `refused` for a conflict or a limit, `error` |
/// | idempotency keys | service | `idempotency`: from the key to the answer | `executed`, `replayed`, `rolled_back`, `mismatched`, `in_flight`, `unknown`, `failed`, `refused`, `cancelled` |
/// | outbox relay | queue | `outbox_publish`, and the queue `outbox` of each database | `ok`, `error`, `cancelled` |
/// | outbox consumer | queue | `outbox_handle`: one call of the handler | `done`, `parked`, `error`, `cancelled` |
///
/// ```
/// use std::{sync::{Arc, Mutex}, time::Duration};
/// use scalekit_core::{Hop, Observer, Signals};
///
/// #[derive(Default)]
/// struct Log(Mutex<Vec<String>>);
/// impl Observer for Log {
///     fn ended(&self, hop: Hop, operation: &'static str, outcome: &'static str, _: Duration) {
///         self.0.lock().unwrap().push(format!("{} {operation} {outcome}", hop.as_str()));
///     }
///     fn behind(&self, _: &'static str, _: &str, _: u64, _: f64) {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let log = Arc::new(Log::default());
/// let signals = Signals::to(log.clone());
/// let answer = signals.time(Hop::Service, "tax", async { Ok(19) }).await;
/// assert_eq!(answer.unwrap(), 19);
/// drop(signals.start(Hop::Service, "tax")); // given up half-way
/// assert_eq!(*log.0.lock().unwrap(), ["service tax ok", "service tax cancelled"]);
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Signals(Option<Arc<dyn Observer>>);

impl Signals {
    /// Reports to this observer.
    pub fn to(observer: Arc<dyn Observer>) -> Self {
        Self(Some(observer))
    }

    /// Times an operation and reports `ok` or `error`; `cancelled` if this future is dropped.
    ///
    /// # Errors
    /// Those of the operation.
    pub async fn time<T>(
        &self,
        hop: Hop,
        operation: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let timing = self.start(hop, operation);
        let result = work.await;
        timing.end(if result.is_ok() { "ok" } else { "error" });
        result
    }

    /// Starts the clock of an operation.
    pub fn start(&self, hop: Hop, operation: &'static str) -> Timing {
        let running = self.0.as_ref().map(|observer| (Arc::clone(observer), Instant::now()));
        Timing { running, hop, operation, otherwise: CANCELLED }
    }

    /// Reports how much of a queue waits.
    pub fn behind(&self, queue: &'static str, of: &str, items: u64, seconds: f64) {
        if let Some(observer) = &self.0 {
            observer.behind(queue, of, items, seconds);
        }
    }

    /// Announces a queue whose lag will be reported, so that an observer that never gets to see it is noticed.
    pub fn expects(&self, queue: &'static str, of: &str) {
        if let Some(observer) = &self.0 {
            observer.expects(queue, of);
        }
    }

    /// Whether anybody listens: where finding out what to report costs something.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signals").field(&self.is_heard()).finish()
    }
}

const CANCELLED: &str = "cancelled";

/// An operation under way; see [`Signals::start`]. Dropped, it is reported as `cancelled`.
#[must_use]
pub struct Timing {
    running: Option<(Arc<dyn Observer>, Instant)>,
    hop: Hop,
    operation: &'static str,
    otherwise: &'static str,
}

impl Timing {
    /// What is reported if it is dropped without [`end`](Self::end).
    ///
    /// ```
    /// # let signals = scalekit_core::Signals::default();
    /// let _tx = signals.start(scalekit_core::Hop::Db, "transaction").or("rolled_back");
    /// ```
    pub fn or(mut self, otherwise: &'static str) -> Self {
        self.otherwise = otherwise;
        self
    }

    /// It has ended so.
    ///
    /// ```
    /// # let signals = scalekit_core::Signals::default();
    /// signals.start(scalekit_core::Hop::Cache, "prices").end("hit");
    /// ```
    pub fn end(mut self, outcome: &'static str) {
        self.otherwise = outcome;
    }
}

impl Drop for Timing {
    fn drop(&mut self) {
        if let Some((observer, started)) = self.running.take() {
            // What nobody has ended was dropped by whoever gave it up, or by its own panic.
            let outcome = match self.otherwise {
                CANCELLED if std::thread::panicking() => "panicked",
                outcome => outcome,
            };
            observer.ended(self.hop, self.operation, outcome, started.elapsed());
        }
    }
}

impl fmt::Debug for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timing").field("hop", &self.hop).field("operation", &self.operation).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Mutex,
    };

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<&'static str>>);

    impl Observer for Heard {
        fn ended(&self, _: Hop, _: &'static str, outcome: &'static str, _: Duration) {
            self.0.lock().unwrap().push(outcome);
        }

        fn behind(&self, _: &'static str, _: &str, _: u64, _: f64) {}
    }

    #[test]
    fn a_panic_is_told_from_a_client_that_left() {
        let heard = Arc::new(Heard::default());
        let signals = Signals::to(heard.clone());
        let panics = |timing: Timing| {
            let panicked = catch_unwind(AssertUnwindSafe(move || {
                let _timing = timing;
                panic!("on purpose")
            }));
            assert!(panicked.is_err());
        };
        drop(signals.start(Hop::Service, "work"));
        panics(signals.start(Hop::Service, "work"));
        panics(signals.start(Hop::Service, "work").or("rolled_back"));
        assert_eq!(*heard.0.lock().unwrap(), ["cancelled", "panicked", "rolled_back"]);
    }
}
