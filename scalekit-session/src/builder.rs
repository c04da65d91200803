//! The configuration, checked once.

use std::{fmt, sync::Arc, time::Duration};

use scalekit_core::{Clock, Error, ErrorKind, KeyRing, Result, Signals, SystemClock};

use crate::{
    CommitOn, Cookie, OnReuse, Reuse, Sessions, Store,
    address::check_namespace,
    leftover::Leftovers,
    metrics::{Counters, EachSecond},
    nodes::Nodes,
    rotation::WhenReused,
    stale::Copies,
    store::Rules,
    visit::Shared,
    watch::Watchers,
};

/// The youngest secret that is rotated.
const MIN_AGE: Duration = Duration::from_secs(60);

/// How long a copy may be shown that a revocation does not reach.
const MAX_STALE: Duration = Duration::from_secs(5 * 60);

/// The configuration of [`Sessions`]; see there for an example.
#[must_use]
pub struct SessionsBuilder {
    store: Arc<dyn Store>,
    ring: KeyRing,
    namespace: String,
    cookie: Cookie,
    rules: Rules,
    soft_bytes: usize,
    request_budget: Duration,
    commit_on: CommitOn,
    rotate_every: Option<Duration>,
    on_reuse: OnReuse,
    clock: Arc<dyn Clock>,
    signals: Signals,
    copies: Copies,
    compares_rings: bool,
    when_reused: Option<WhenReused>,
}

impl SessionsBuilder {
    pub(crate) fn new(store: Arc<dyn Store>, ring: KeyRing) -> Self {
        Self {
            store,
            ring,
            namespace: "session".to_owned(),
            cookie: Cookie::host("id"),
            rules: Rules {
                idle: Duration::from_secs(30 * 60),
                absolute: Duration::from_secs(12 * 60 * 60),
                grace: Duration::from_secs(20),
                max_fields: 512,
                max_bytes: 64 * 1024,
                max_sessions: 1_000,
            },
            soft_bytes: 4 * 1024,
            request_budget: Duration::from_millis(200),
            commit_on: CommitOn::default(),
            rotate_every: Some(Duration::from_secs(60 * 60)),
            on_reuse: OnReuse::default(),
            clock: Arc::new(SystemClock),
            signals: Signals::default(),
            copies: Copies::default(),
            compares_rings: true,
            when_reused: None,
        }
    }

    /// What keys in the store start with, and what tickets are signed for; `session` by default. Services
    /// with different namespaces share a store and a ring without seeing each other's sessions.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How the cookie is sent; [`Cookie::host`]`("id")` by default.
    pub fn cookie(mut self, cookie: Cookie) -> Self {
        self.cookie = cookie;
        self
    }

    /// How long a session lives without a request; 30 minutes by default.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.rules.idle = idle;
        self
    }

    /// How long a session lives at most; 12 hours by default. A sign-in starts anew.
    pub fn absolute(mut self, absolute: Duration) -> Self {
        self.rules.absolute = absolute;
        self
    }

    /// How old a secret grows before a request that reads its session gets a new one with its response; 1 hour by
    /// default, `None` for never.
    ///
    /// The old secret leads to the session until the new one is first used, and for the grace after that. Who comes
    /// with it later has kept it or taken it: see [`on_reuse`](Self::on_reuse).
    pub fn rotate_every(mut self, every: Option<Duration>) -> Self {
        self.rotate_every = every;
        self
    }

    /// How long requests that were sent with the old secret are served after the new one was first used; 20 s by
    /// default, 10 to 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.rules.grace = grace;
        self
    }

    /// What to do when an old secret is used after that; [`OnReuse::Report`] by default.
    pub fn on_reuse(mut self, on_reuse: OnReuse) -> Self {
        self.on_reuse = on_reuse;
        self
    }

    /// Is told of each use of an old secret after that: to warn the user, or to ask for the password again. It is called
    /// while the request waits, so whatever takes time goes into a task of its own.
    ///
    /// ```
    /// # use scalekit_core::KeyRing;
    /// # use scalekit_session::{MemoryStore, Sessions};
    /// # let (store, ring) = (MemoryStore::new(), KeyRing::generate()?);
    /// let sessions = Sessions::builder(store, ring).when_reused(|reuse| {
    ///     if let Some(user) = &reuse.user {
    ///         tracing::warn!(tenant = user.tenant_id(), "somebody may have a copy of a session's cookie");
    ///     }
    /// });
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn when_reused(mut self, tell: impl Fn(&Reuse) + Send + Sync + 'static) -> Self {
        self.when_reused = Some(Arc::new(tell));
        self
    }

    /// Which responses let the changes be committed; [`CommitOn::Below500`] by default.
    pub fn commit_on(mut self, commit_on: CommitOn) -> Self {
        self.commit_on = commit_on;
        self
    }

    /// Reports how long each load and each commit takes, and how it ends.
    pub fn signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// How long one request may wait for the store in all; 200 ms by default.
    pub fn request_budget(mut self, budget: Duration) -> Self {
        self.request_budget = budget;
        self
    }

    /// How many fields and members of maps a session may hold (512 by default), and how many bytes in all
    /// (64 KiB by default).
    pub fn size(mut self, max_fields: usize, max_bytes: usize) -> Self {
        self.rules.max_fields = max_fields;
        self.rules.max_bytes = max_bytes;
        self
    }

    /// Above how many bytes a session that is read counts as large; 4 KiB by default. It is served like any other, is
    /// counted in [`Metrics::large`](crate::Metrics::large), and now and then logged: it costs each read its weight.
    pub fn soft_size(mut self, bytes: usize) -> Self {
        self.soft_bytes = bytes;
        self
    }

    /// How many sessions one user may have; 1,000 by default. A sign-in beyond ends the oldest.
    pub fn sessions_per_user(mut self, max: usize) -> Self {
        self.rules.max_sessions = max;
        self
    }

    /// Keeps a copy of each session that is read, for so long, in this process: while the store does not answer,
    /// [`MaybeSession`](crate::MaybeSession) shows it read-only. Off by default; at most five minutes.
    ///
    /// Memory: at most 10,000 sessions, none above [`soft_size`](Self::soft_size). A read costs about a microsecond more.
    #[cfg(feature = "stale")]
    pub fn stale_for(mut self, age: Duration) -> Self {
        self.copies = Copies::kept_for(age);
        self
    }

    /// Whether the nodes of the service tell each other by which keys they sign; they do unless told otherwise.
    ///
    /// From the first use of the store on, each publishes fingerprints of its ring's keys, which reveal nothing, under
    /// `<namespace>:nodes`. Within 2 s, a node finds that another refuses what it signs, such as one with a
    /// [generated](KeyRing::generate) ring of its own, or that a key was put first before all had it: an error in the log
    /// each minute, and [`Metrics::rings_differ`](crate::Metrics::rings_differ). **Round trips**: one each 2 s, which no
    /// request waits for.
    pub fn compare_rings(mut self, compare: bool) -> Self {
        self.compares_rings = compare;
        self
    }

    /// The clock that stamps tickets; the machine's by default.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Checks the configuration. Connects to nothing and starts nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a namespace or a cookie's name with characters that have a meaning of their
    /// own, for an idle time below 100 ms or above the absolute one, for a rotation more often than every minute, and
    /// for limits out of range.
    pub fn build(self) -> Result<Sessions> {
        let config = |message: String| Err(Error::new(ErrorKind::Config, message));
        let rules = &self.rules;
        self.cookie.check()?;
        check_namespace(&self.namespace)?;
        rules.check()?;
        if !(Duration::from_secs(10)..=Duration::from_secs(30)).contains(&rules.grace) {
            return config(format!("sessions: a grace of {:?} is not 10 to 30 s", rules.grace));
        }
        if let Some(every) = self.rotate_every.filter(|every| *every < MIN_AGE) {
            return config(format!("sessions: a new secret every {every:?} is more often than every minute"));
        }
        if !(1..=10_000).contains(&rules.max_fields) || !(1..=1 << 20).contains(&rules.max_bytes) {
            return config("sessions: at most 10,000 fields and 1 MiB".to_owned());
        }
        if !(1..=10_000).contains(&rules.max_sessions) || self.request_budget.is_zero() {
            return config("sessions: 1 to 10,000 sessions of a user, and a budget above 0".to_owned());
        }
        if self.copies.age() > MAX_STALE {
            return config(format!("sessions: copies are shown for at most {MAX_STALE:?}"));
        }
        Ok(Sessions(Arc::new(Shared {
            store: self.store,
            ring: self.ring,
            namespace: self.namespace,
            cookie: self.cookie,
            rules: self.rules,
            soft_bytes: self.soft_bytes,
            request_budget: self.request_budget,
            commit_on: self.commit_on,
            rotate_every: self.rotate_every,
            on_reuse: self.on_reuse,
            clock: self.clock,
            counters: Counters::default(),
            lines: EachSecond::default(),
            reuses: EachSecond::default(),
            when_reused: self.when_reused,
            signals: self.signals,
            leftovers: Leftovers::default(),
            watchers: Watchers::default(),
            copies: self.copies,
            nodes: Nodes::new(self.compares_rings),
        })))
    }
}

impl fmt::Debug for SessionsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionsBuilder").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
