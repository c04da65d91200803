//! What came of a rolling restart, and what probably caused it.

use std::{fmt, time::Duration};

use http::StatusCode;

use super::{
    answer::Visitor,
    browser::{NoAnswer, Sent},
    fleet::Node,
};

/// Failures of one kind that are kept with their details.
const KEPT: usize = 8;
/// How many of them a panic's message shows.
const SHOWN: usize = 5;

/// What came of a [`RollingRestart`](super::RollingRestart); see there for an example. `Display` prints it all.
#[must_use = "a report that nobody looks at finds nothing"]
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// What the random choices depended on.
    pub seed: u64,
    /// How many users there were.
    pub users: usize,
    /// How many nodes there were.
    pub nodes: usize,
    /// Requests that were sent.
    pub requests: u64,
    /// Restarts of one node each that were completed.
    pub restarts: usize,
    /// Acknowledged writes that were read back.
    pub confirmed_updates: u64,
    /// How often a user who had signed in was taken for nobody. Writes that went with a session are not counted again.
    pub lost_sessions: u64,
    /// By how much the numbers that were read fell short of the writes that had been acknowledged.
    pub lost_updates: u64,
    /// By how much they were above: a write that was applied twice, or another user's session.
    pub extra_updates: u64,
    /// How often a user signed in again.
    pub re_logins: u64,
    /// Answers of 500 and above, handlers that panicked, and answers that did not come within 5 s.
    pub server_errors: u64,
    /// Other answers that are no success (409, 404, a sign-in refused), and reads without a number.
    pub unexpected: u64,
    /// Users of whom no write was made and read back after the last restart.
    pub unconfirmed_users: usize,
    /// Whether the time given by [`within`](super::RollingRestart::within) was over before all restarts were.
    pub cut_short: bool,
    /// How long it took.
    pub elapsed: Duration,
    /// The first failures of each kind.
    pub failures: Vec<Failure>,
    pub(super) fates: Fates,
}

/// One failure, in full.
///
/// ```
/// use scalekit_session::testing::{Failure, FailureKind, Report};
///
/// fn first_loss(report: &Report) -> Option<&Failure> {
///     report.failures.iter().find(|failure| failure.kind == FailureKind::LostSession)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// The [number](Visitor::number) of the user.
    pub user: usize,
    /// Which node answered.
    pub node: Node,
    /// The method and the path that were asked for, without the query.
    pub request: String,
    /// The status; `None` without an answer.
    pub status: Option<StatusCode>,
    /// More about it.
    pub detail: String,
}

/// What a [`Failure`] is; the fields of [`Report`] say when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// [`Report::lost_sessions`]
    LostSession,
    /// [`Report::lost_updates`]
    LostUpdate,
    /// [`Report::extra_updates`]
    ExtraUpdate,
    /// [`Report::server_errors`]
    ServerError,
    /// [`Report::unexpected`]
    Unexpected,
}

/// Where something was that is lost.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// Still on the instance that had signed the user in.
    StillThere,
    /// That instance was restarted since.
    Restarted,
    Nowhere,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fates {
    still_there: u64,
    restarted: u64,
}

impl Report {
    /// Panics if a session or an update was lost, if somebody had to sign in again, or if nothing was tested.
    ///
    /// # Panics
    /// If any of `lost_sessions`, `lost_updates`, `extra_updates`, `re_logins` is above 0; if the run was `cut_short`; if
    /// there are `unconfirmed_users`, so that an application which refuses everybody does not pass. The message names
    /// the likely cause and the first failures: user, node, generation, request, status.
    #[track_caller]
    pub fn assert_none_lost(&self) {
        let lost = self.lost_sessions + self.lost_updates + self.extra_updates + self.re_logins;
        if lost > 0 || self.cut_short || self.unconfirmed_users > 0 {
            panic!("the rolling restart lost something or tested nothing\n{self}");
        }
    }

    /// Panics, beyond that, if any request failed.
    ///
    /// # Panics
    /// Where [`assert_none_lost`](Self::assert_none_lost) does, and if `server_errors` or `unexpected` is above 0.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        self.assert_none_lost();
        if self.server_errors + self.unexpected > 0 {
            panic!("nothing was lost in the rolling restart, but requests failed\n{self}");
        }
    }

    pub(super) fn lose_session(&mut self, fate: Fate, visitor: Visitor, sent: &Sent, detail: &str) {
        self.lost_sessions += 1;
        self.met(fate);
        self.keep(FailureKind::LostSession, visitor, sent, detail);
    }

    pub(super) fn lose_updates(&mut self, by: u64, fate: Fate, visitor: Visitor, sent: &Sent, detail: &str) {
        self.lost_updates += by;
        // Any update can be lost after a restart: only what is found on a node says something.
        self.fates.still_there += u64::from(matches!(fate, Fate::StillThere));
        self.keep(FailureKind::LostUpdate, visitor, sent, detail);
    }

    pub(super) fn add_extra(&mut self, by: u64, visitor: Visitor, sent: &Sent, detail: &str) {
        self.extra_updates += by;
        self.keep(FailureKind::ExtraUpdate, visitor, sent, detail);
    }

    /// A request that failed.
    pub(super) fn fail(&mut self, kind: FailureKind, visitor: Visitor, sent: &Sent, detail: &str) {
        match kind {
            FailureKind::ServerError => self.server_errors += 1,
            _ => self.unexpected += 1,
        }
        self.keep(kind, visitor, sent, detail);
    }

    fn met(&mut self, fate: Fate) {
        match fate {
            Fate::StillThere => self.fates.still_there += 1,
            Fate::Restarted => self.fates.restarted += 1,
            Fate::Nowhere => {}
        }
    }

    fn keep(&mut self, kind: FailureKind, visitor: Visitor, sent: &Sent, detail: &str) {
        if self.failures.iter().filter(|failure| failure.kind == kind).count() == KEPT {
            return;
        }
        let detail = match sent.answer {
            Ok(_) => detail,
            Err(NoAnswer::Panicked) => "the handler panicked",
            Err(NoAnswer::TooLate) => "no answer within 5 s",
            Err(NoAnswer::BrokenBody) => "the body broke off or is too long",
        };
        self.failures.push(Failure {
            kind,
            user: visitor.number,
            node: sent.node,
            request: sent.request.clone(),
            status: sent.answer.as_ref().ok().map(|answer| answer.status),
            detail: detail.to_owned(),
        });
    }

    /// The likely causes of what went wrong.
    fn causes(&self) -> Vec<String> {
        let Fates { still_there, restarted } = self.fates;
        let local = "likely cause: node-local state. Sessions or keys live in the memory of one node (a MemoryStore or \
                     KeyRing::generate() made for each node, a map in the process); give all nodes one store and one ring";
        let mut causes = Vec::new();
        if still_there > 0 {
            causes.push(format!(
                "{local}. {still_there} times the node that had signed the user in still had what another node missed"
            ));
        } else if restarted > 0 {
            causes.push(format!(
                "{local}. {restarted} sessions were lost after a restart of the node that signed in"
            ));
        } else if self.lost_sessions > 0 {
            causes.push(
                "likely cause: the sign-in does not last. Not even the node that signed the user in knew them: look at \
                 the request that signs in, at its cookies, and at how long sessions live"
                    .to_owned(),
            );
        }
        if self.lost_updates > 0 && still_there == 0 {
            causes.push(
                "likely cause of lost updates: read, change and write back. Parallel requests each write the whole \
                 value they have read; use a counter, or a closure that is run again (`Session::update`)"
                    .to_owned(),
            );
        }
        if self.cut_short {
            causes.push(
                "the time was over before all nodes were restarted; see `RollingRestart::within`".to_owned(),
            );
        }
        if self.unconfirmed_users > 0 {
            causes.push(format!(
                "{} of {} users made no write after the last restart that was read back",
                self.unconfirmed_users, self.users
            ));
        }
        causes
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} users, {} nodes, {} restarts, {} requests in {:.1?}, seed {}",
            self.users, self.nodes, self.restarts, self.requests, self.elapsed, self.seed
        )?;
        write!(
            f,
            "lost sessions {}, lost updates {} (extra {}, confirmed {}), re-logins {}, server errors {}, unexpected {}",
            self.lost_sessions,
            self.lost_updates,
            self.extra_updates,
            self.confirmed_updates,
            self.re_logins,
            self.server_errors,
            self.unexpected
        )?;
        for cause in self.causes() {
            write!(f, "\n{cause}")?;
        }
        for kind in [
            FailureKind::LostSession,
            FailureKind::LostUpdate,
            FailureKind::ExtraUpdate,
            FailureKind::ServerError,
            FailureKind::Unexpected,
        ] {
            for failure in self.failures.iter().filter(|failure| failure.kind == kind).take(SHOWN) {
                write!(f, "\n  {failure}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: user {}, {}, {}, ", self.kind, self.user, self.node, self.request)?;
        match self.status {
            Some(status) => write!(f, "status {}", status.as_u16())?,
            None => f.write_str("no status")?,
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}
