//! The way of one command through a Cluster: where it goes next after what a node answered.

use std::{sync::Arc, time::Duration};

use ::redis::{Cmd, RedisError, ServerErrorKind};
use tokio::time::{Instant, sleep_until};

use super::{Address, Cluster, Member, lesson::EVERY_REDIRECT, route};
use crate::{
    Error, ErrorKind,
    redis::{
        classify::{Verdict, verdict},
        node::{Entry, Failure, Limit},
    },
};

/// Redirects in a row that are followed at once; a Cluster that sends round in circles needs time to settle.
const AT_ONCE: u32 = 2;
/// What a Cluster is given to settle, at first and at most.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(40);

/// Where a command is, and where it goes.
pub(in crate::redis) struct Walk {
    slot: Option<u16>,
    next: Option<Arc<Member>>,
    /// Whether the node is told that it was sent there although the slot is another's.
    pub(in crate::redis) asking: bool,
    pub(in crate::redis) entry: Entry,
    redirects: u32,
    pauses: u32,
}

impl Walk {
    /// To the node of the command's key.
    pub(in crate::redis) fn of(command: &Cmd) -> Self {
        Self::to(route::of_command(command))
    }

    pub(super) fn to(slot: Option<u16>) -> Self {
        Self { slot, next: None, asking: false, entry: Entry::Gated, redirects: 0, pauses: 0 }
    }

    async fn pause(&mut self, limit: Limit) {
        self.pauses += 1;
        let pause = (PAUSE * self.pauses).min(LONGEST_PAUSE);
        sleep_until((Instant::now() + pause).min(limit.deadline)).await;
    }
}

impl Cluster {
    /// The node that is asked next.
    pub(in crate::redis) async fn next_stop(
        &self,
        walk: &mut Walk,
        limit: Limit,
    ) -> Result<Arc<Member>, Failure> {
        if let Some(told) = walk.next.take() {
            return Ok(told);
        }
        self.learnt(limit).await?;
        let Some(slot) = walk.slot else { return Ok(self.pick()?) };
        if let Some(owner) = self.0.owner(slot)? {
            return Ok(owner);
        }
        self.relearnt(limit).await;
        let nobody = || Error::new(ErrorKind::Unavailable, "redis has no node for the key");
        Ok(self.0.owner(slot)?.ok_or_else(nobody)?)
    }

    /// Whether the command is to be sent again, which is so only where it is certain that nothing was executed.
    pub(in crate::redis) async fn follow(
        &self,
        walk: &mut Walk,
        at: &Arc<Member>,
        failure: &Failure,
        limit: Limit,
    ) -> bool {
        let again = match failure {
            Failure::Answer(error) => self.redirected(walk, at, error, limit).await,
            // Its replica may have been promoted while nobody looked.
            Failure::Unreached(_) => {
                self.relearnt(limit).await;
                let owner = walk.slot.and_then(|slot| self.0.owner(slot).ok().flatten());
                (walk.asking, walk.entry) = (false, Entry::Gated);
                owner.is_some_and(|owner| owner.address != at.address)
            }
            Failure::Turned(_) | Failure::Unanswered(_) => {
                self.learn_soon();
                false
            }
        };
        again && Instant::now() < limit.deadline
    }

    async fn redirected(&self, walk: &mut Walk, at: &Member, error: &RedisError, limit: Limit) -> bool {
        let asking = error.kind() == ServerErrorKind::Ask.into();
        match verdict(error) {
            Verdict::Moved => {
                let told = error
                    .redirect_node()
                    .and_then(|(address, slot)| Some((Address::parse(address, &at.address)?, slot)));
                (walk.asking, walk.entry) = (asking, Entry::Gated);
                match told {
                    Some((address, slot)) => {
                        if !asking {
                            self.0.known_mut().map.teach(slot, &address);
                            self.0.lesson(EVERY_REDIRECT);
                        }
                        walk.slot = Some(slot);
                        walk.next = self.0.member(&address).ok();
                        walk.redirects += 1;
                        if walk.redirects > AT_ONCE {
                            walk.pause(limit).await;
                        }
                    }
                    // TRYAGAIN: some keys of the slot are here, some there.
                    None => walk.pause(limit).await,
                }
                true
            }
            Verdict::Unsettled => {
                if let Some(slot) = walk.slot {
                    self.0.known_mut().map.doubt(slot, &at.address);
                }
                self.look_again(walk, limit, Entry::Gated).await
            }
            Verdict::NotReady | Verdict::Elsewhere => self.look_again(walk, limit, Entry::Free).await,
            Verdict::Lost => {
                self.learn_soon();
                false
            }
            Verdict::Answered | Verdict::NoScript => false,
        }
    }

    async fn look_again(&self, walk: &mut Walk, limit: Limit, entry: Entry) -> bool {
        (walk.asking, walk.entry) = (false, entry);
        self.learn_soon();
        walk.pause(limit).await;
        true
    }
}
