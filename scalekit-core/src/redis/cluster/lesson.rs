//! Learning who serves which slot: one task at a time asks the nodes, whoever needs it waits for the same one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::redis::{Value, cmd, pipe};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{Cluster, Inner, Member, picture::Picture};
use crate::{
    Error, ErrorKind,
    redis::{
        node::{Entry, Failure, Limit, Work},
        stall::wait,
    },
};

/// Between the beginnings of two lessons.
pub(super) const EVERY: Duration = Duration::from_millis(100);
/// The same where a redirect has taught what mattered: while slots move, each client meets many.
pub(super) const EVERY_REDIRECT: Duration = Duration::from_secs(1);
/// How long a node may think before the next is asked, too.
const HEDGE: Duration = Duration::from_millis(50);
/// A lesson that takes longer died with its runtime.
const LONGEST: Duration = Duration::from_secs(10);

/// The lesson that goes on, if one does.
#[derive(Default)]
pub(super) struct Lessons(Mutex<Option<Running>>);

/// The sender is the task's: when it dies, all who wait are told, and nobody is told what it had left behind.
struct Running {
    since: Instant,
    outcome: watch::Receiver<Option<Learnt>>,
}

pub(super) type Learnt = Result<(), Arc<Error>>;

impl Cluster {
    /// Returns when there is a map.
    pub(super) async fn learnt(&self, limit: Limit) -> Result<(), Failure> {
        if !self.0.known().map.is_empty() {
            return Ok(());
        }
        let gate = &self.0.gate;
        gate.admit().map_err(Failure::Turned)?;
        let Some(lesson) = self.0.lesson(EVERY) else {
            return Err(Failure::Turned(Error::new(ErrorKind::Unavailable, "redis is down")));
        };
        match wait(limit.deadline, limit.budget, taught(lesson)).await {
            Ok(Ok(())) => {
                gate.succeeded();
                Ok(())
            }
            Ok(Err(error)) => {
                gate.refused();
                Err(Failure::Unreached(error))
            }
            Err(_) => {
                gate.timed_out();
                Err(Failure::Unreached(Error::new(
                    ErrorKind::Unavailable,
                    "redis did not tell its nodes in time",
                )))
            }
        }
    }

    /// Returns when a lesson is over, or at once where the last one is too near.
    pub(super) async fn relearnt(&self, limit: Limit) {
        if let Some(lesson) = self.0.lesson(EVERY) {
            // What it has learnt is in the map, whichever way it ended.
            let _ = wait(limit.deadline, limit.budget, taught(lesson)).await;
        }
    }
}

impl Inner {
    /// The lesson that goes on, or a new one if the last one is not too near.
    pub(super) fn lesson(self: &Arc<Self>, every: Duration) -> Option<watch::Receiver<Option<Learnt>>> {
        let mut running = self.lessons.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Running { since, outcome }) = &*running {
            let (age, over) = (since.elapsed(), outcome.borrow().is_some());
            let died = !over && (outcome.has_changed().is_err() || age > LONGEST);
            if !over && !died {
                return Some(outcome.clone());
            }
            if !died && age < every {
                return None;
            }
        }
        let (teller, outcome) = watch::channel(None);
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let learnt = inner.learn().await.map_err(Arc::new);
            teller.send_replace(Some(learnt));
        });
        *running = Some(Running { since: Instant::now(), outcome: outcome.clone() });
        Some(outcome)
    }

    /// Asks the nodes, one more whenever those asked take long, until one gives a picture that is not behind.
    async fn learn(self: &Arc<Self>) -> Result<(), Error> {
        let mut candidates = self.candidates().into_iter();
        let (mut asked, mut behind, mut failure) = (JoinSet::new(), None::<Picture>, None);
        loop {
            if let Some(member) = candidates.next() {
                asked.spawn(ask(member, self.config.connect_timeout));
            } else if asked.is_empty() {
                break;
            }
            let hedge = if candidates.len() > 0 { HEDGE } else { LONGEST };
            match timeout(hedge, asked.join_next()).await {
                Ok(Some(Ok(Ok(picture)))) => {
                    if !self.known().map.is_ahead_of(&picture) {
                        self.adopt(&picture);
                        return Ok(());
                    }
                    if behind.as_ref().is_none_or(|known| known.epoch < picture.epoch) {
                        behind = Some(picture);
                    }
                }
                Ok(Some(Ok(Err(error)))) => failure = Some(error),
                Ok(Some(Err(_)) | None) | Err(_) => {}
            }
        }
        match behind {
            // All that answer are behind what was known: the Cluster was set up anew.
            Some(picture) => {
                self.adopt(&picture);
                Ok(())
            }
            None => Err(failure.unwrap_or_else(|| {
                Error::new(ErrorKind::Unavailable, "redis has no node that tells who serves what")
            })),
        }
    }
}

async fn ask(member: Arc<Member>, budget: Duration) -> Result<Picture, Error> {
    let mut both = pipe();
    both.add_command(cmd("CLUSTER").arg("SLOTS").clone()).add_command(cmd("CLUSTER").arg("INFO").clone());
    let answer = member.node.attempt(Work::Raw(&both), Limit::of(budget), Entry::Free).await?;
    let Value::Array(answers) = &answer else { return Err(unreadable()) };
    let [slots, info] = answers.as_slice() else { return Err(unreadable()) };
    if let Value::ServerError(refused) = slots {
        return Err(Failure::Answer(refused.clone().into()).into());
    }
    Picture::read(&member.address, slots, info).ok_or_else(unreadable)
}

async fn taught(mut lesson: watch::Receiver<Option<Learnt>>) -> Result<(), Error> {
    let outcome = match lesson.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone(),
        Err(_) => None,
    };
    match outcome {
        Some(Ok(())) => Ok(()),
        Some(Err(failed)) => Err(Error::new(failed.kind(), failed.to_string()).with_source(Shared(failed))),
        None => Err(Error::new(ErrorKind::Unavailable, "redis was not asked to the end who serves what")),
    }
}

fn unreadable() -> Error {
    Error::new(ErrorKind::Unavailable, "redis does not tell who serves what: is it a Cluster?")
}

/// A failure that several wait for, as the cause of each one's error.
#[derive(Debug)]
struct Shared(Arc<Error>);

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
