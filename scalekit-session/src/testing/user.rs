//! One user: signs in once, writes in parallel, reads, and notices what is missing.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use scalekit_core::http::Request;

use super::{
    answer::{Answer, Visitor},
    browser::{Browser, Jar, Sent},
    fleet::Node,
    report::{FailureKind, Fate, Report},
    rolling::Random,
};

pub(super) type Make = Box<dyn Fn(Visitor) -> Request + Send + Sync>;
pub(super) type Number = Box<dyn Fn(&Answer) -> Option<u64> + Send + Sync>;
pub(super) type Recognise = Box<dyn Fn(&Answer) -> bool + Send + Sync>;

/// What every user does.
pub(super) struct Plan {
    pub(super) sign_in: Make,
    pub(super) write: Make,
    pub(super) read: Make,
    pub(super) number: Number,
    pub(super) anonymous: Recognise,
    pub(super) parallel_writes: usize,
}

pub(super) struct User {
    pub(super) visitor: Visitor,
    pub(super) browser: Browser,
    pub(super) plan: Arc<Plan>,
    pub(super) report: Arc<Mutex<Report>>,
    pub(super) random: Random,
    session: Option<Session>,
    was_signed_in: bool,
    /// After how many restarts the step began that last saw all its writes.
    confirmed_after: Option<usize>,
}

/// What the user may rely on.
struct Session {
    by: Node,
    /// What was read last.
    number: u64,
    /// Writes since then that were acknowledged.
    acknowledged: u64,
    /// Writes of which nobody knows; they may still arrive.
    unknown: u64,
}

enum Verdict {
    Done,
    Anonymous,
    /// A 5xx, or no answer: it may have happened.
    Unknown,
    /// Anything else: it did not happen.
    Unexpected,
}

impl User {
    pub(super) fn new(
        visitor: Visitor,
        browser: Browser,
        plan: Arc<Plan>,
        report: Arc<Mutex<Report>>,
        random: Random,
    ) -> Self {
        Self {
            visitor,
            browser,
            plan,
            report,
            random,
            session: None,
            was_signed_in: false,
            confirmed_after: None,
        }
    }

    /// Whether a write was made and read back after this many restarts.
    pub(super) fn confirmed_after(&self, restarts: usize) -> bool {
        self.confirmed_after == Some(restarts)
    }

    /// Writes, and then reads whether it is all there; signs in before, if need be.
    pub(super) async fn step(&mut self) {
        let restarts = self.browser.fleet.restarts();
        if self.session.is_none() {
            self.sign_in().await;
        }
        let Some(mut session) = self.session.take() else { return };
        let jar = self.browser.cookies();
        let writes = 1 + self.random.below(self.plan.parallel_writes);
        let sent = join_all((0..writes).map(|_| self.send((self.plan.write)(self.visitor)))).await;
        let mut refused = None;
        for one in sent {
            match self.judge(&one) {
                Verdict::Done => session.acknowledged += 1,
                Verdict::Unknown => session.unknown += 1,
                Verdict::Anonymous => refused = Some(one),
                Verdict::Unexpected => {}
            }
        }
        if let Some(refused) = refused {
            return self.lost(&refused, session.by, &jar).await;
        }
        let written = session.acknowledged;
        match self.read().await {
            Ok(Some((sent, number))) => {
                if self.check(&mut session, &sent, number, &jar).await && written > 0 {
                    self.confirmed_after = Some(restarts);
                }
                self.session = Some(session);
            }
            Ok(None) => self.session = Some(session),
            Err(refused) => self.lost(&refused, session.by, &jar).await,
        }
    }

    async fn sign_in(&mut self) {
        let sent = self.send((self.plan.sign_in)(self.visitor)).await;
        match self.judge_sign_in(&sent) {
            Verdict::Done => {}
            _ => return,
        }
        self.with(|report| report.re_logins += u64::from(self.was_signed_in));
        self.was_signed_in = true;
        let jar = self.browser.cookies();
        match self.read().await {
            Ok(Some((_, number))) => {
                self.session = Some(Session { by: sent.node, number, acknowledged: 0, unknown: 0 });
            }
            Ok(None) => {}
            Err(refused) => self.lost(&refused, sent.node, &jar).await,
        }
    }

    /// The number, none if it cannot be told now, or the answer that took the user for nobody.
    async fn read(&self) -> Result<Option<(Sent, u64)>, Sent> {
        let sent = self.send((self.plan.read)(self.visitor)).await;
        match self.judge(&sent) {
            Verdict::Done => match sent.answer.as_ref().ok().and_then(|answer| (self.plan.number)(answer)) {
                Some(number) => Ok(Some((sent, number))),
                None => {
                    self.with(|report| {
                        report.fail(FailureKind::Unexpected, self.visitor, &sent, "no number")
                    });
                    Ok(None)
                }
            },
            Verdict::Anonymous => Err(sent),
            Verdict::Unknown | Verdict::Unexpected => Ok(None),
        }
    }

    /// True if the number is what it must be; from then on it counts.
    async fn check(&self, session: &mut Session, sent: &Sent, number: u64, jar: &Jar) -> bool {
        let acknowledged = std::mem::take(&mut session.acknowledged);
        let least = session.number.saturating_add(acknowledged);
        session.number = number;
        if number < least {
            let fate = self.fate(session.by, jar, |there| there >= least).await;
            let text = format!("{number} instead of at least {least}");
            self.with(|report| report.lose_updates(least - number, fate, self.visitor, sent, &text));
            return false;
        }
        let surplus = (number - least).saturating_sub(session.unknown);
        session.unknown -= (number - least).min(session.unknown);
        if surplus > 0 {
            let text = format!("{surplus} more than were ever written");
            self.with(|report| report.add_extra(surplus, self.visitor, sent, &text));
            return false;
        }
        self.with(|report| report.confirmed_updates += acknowledged);
        true
    }

    async fn lost(&self, refused: &Sent, by: Node, jar: &Jar) {
        let fate = self.fate(by, jar, |_| true).await;
        let text = format!("signed in by {by}");
        self.with(|report| report.lose_session(fate, self.visitor, refused, &text));
    }

    /// Whether the instance that signed the user in, asked with the cookies from before, still has it all.
    async fn fate(&self, by: Node, jar: &Jar, is_there: impl Fn(u64) -> bool) -> Fate {
        let Some(sent) = self.browser.probe(by, (self.plan.read)(self.visitor), jar).await else {
            return Fate::Restarted;
        };
        self.with(|report| report.requests += 1);
        let answer = sent.answer.as_ref().ok().filter(|answer| !(self.plan.anonymous)(answer));
        match answer.and_then(|answer| (self.plan.number)(answer)).is_some_and(is_there) {
            true => Fate::StillThere,
            false => Fate::Nowhere,
        }
    }

    async fn send(&self, request: Request) -> Sent {
        let sent = self.browser.send(request).await;
        self.with(|report| report.requests += 1);
        sent
    }

    fn judge(&self, sent: &Sent) -> Verdict {
        match &sent.answer {
            Ok(answer) if (self.plan.anonymous)(answer) => Verdict::Anonymous,
            _ => self.judge_sign_in(sent),
        }
    }

    /// An answer to a sign-in may look like one to nobody: a redirect.
    fn judge_sign_in(&self, sent: &Sent) -> Verdict {
        let status = sent.answer.as_ref().map(|answer| answer.status);
        match status {
            Ok(status) if status.is_success() || status.is_redirection() => Verdict::Done,
            Ok(status) if !status.is_server_error() => {
                self.with(|report| report.fail(FailureKind::Unexpected, self.visitor, sent, ""));
                Verdict::Unexpected
            }
            _ => {
                self.with(|report| report.fail(FailureKind::ServerError, self.visitor, sent, ""));
                Verdict::Unknown
            }
        }
    }

    fn with(&self, note: impl FnOnce(&mut Report)) {
        note(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
