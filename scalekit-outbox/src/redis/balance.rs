//! Dividing the lanes among the consumers of a group.

use std::time::Duration;

use scalekit_core::{Result, redis::Script};
use tokio::time::Instant;

use super::{
    feed::{Feed, Reader},
    lanes::{EntryId, Name, Owned},
};

static MEMBER: Script = Script::new(include_str!("../lua/member.lua"));
static HOLD: Script = Script::new(include_str!("../lua/hold.lua"));
static RELEASE: Script = Script::new(include_str!("../lua/release.lua"));

/// How long the lanes of a consumer that died stay its own, and how often one that lives says so.
const LEASE: Duration = Duration::from_secs(9);
const BEAT: Duration = Duration::from_secs(2);
/// How soon one asks again that has less than its share.
const WANTING: Duration = Duration::from_millis(500);

impl Reader<'_> {
    /// Renews the lease, takes or gives lanes, and looks for events that were told to be tried again.
    pub(super) async fn balance(&mut self) -> Result<()> {
        let started = Instant::now();
        let members = self.feed.member(true).await?.max(1);
        let all: Vec<Name> = self.feed.streams.lanes().collect();
        let fair = all.len().div_ceil(usize::try_from(members).unwrap_or(usize::MAX));
        for name in self.lanes.keys().cloned().collect::<Vec<_>>() {
            self.keep(&name).await?;
        }
        self.take(&all, fair).await?;
        self.give(fair).await?;
        self.held = started + LEASE.mul_f64(0.8);
        self.dispatch.hold_until(Some(self.held));
        let least = all.len() / usize::try_from(members).unwrap_or(usize::MAX);
        self.beat = started + if self.lanes.len() < least { WANTING } else { BEAT };
        self.look_for_redrives().await
    }

    async fn keep(&mut self, name: &Name) -> Result<()> {
        let (held, pending) = self.feed.hold(name, false).await?;
        let Some(lane) = self.lanes.get_mut(name) else { return Ok(()) };
        if held == 0 {
            tracing::warn!(lane = name.1, database = %name.0, "a lane of the consumer is another's");
            lane.abandon();
            self.lanes.remove(name);
        } else if pending > lane.open() {
            // A reply that held entries was lost.
            lane.history = Some(EntryId::ZERO);
        }
        Ok(())
    }

    async fn take(&mut self, all: &[Name], fair: usize) -> Result<()> {
        if self.lanes.len() >= fair {
            return Ok(());
        }
        // Each begins elsewhere, so that two do not ask for the same lanes in step.
        let start = self.feed.id.bytes().map(usize::from).sum::<usize>() * 7 % all.len().max(1);
        for name in all.iter().cycle().skip(start).take(all.len()) {
            if self.lanes.len() >= fair {
                break;
            }
            if !self.lanes.contains_key(name) && self.feed.hold(name, true).await?.0 > 0 {
                let streams = &self.feed.streams;
                let lane = Owned::new(streams.stream(&name.0, name.1), streams.owner(&name.0, name.1));
                self.lanes.insert(name.clone(), lane);
            }
        }
        Ok(())
    }

    async fn give(&mut self, fair: usize) -> Result<()> {
        let surplus = self.lanes.len().saturating_sub(fair);
        for (place, lane) in self.lanes.values_mut().rev().enumerate() {
            lane.leaving = place < surplus;
        }
        let gone: Vec<Name> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.leaving && lane.at_rest() && lane.acks().is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.lanes.remove(&name);
            self.feed.release(&name).await?;
        }
        Ok(())
    }

    /// Lets go of all lanes.
    pub(super) async fn leave(&mut self) -> Result<()> {
        for name in std::mem::take(&mut self.lanes).into_keys() {
            self.feed.release(&name).await?;
        }
        self.feed.member(false).await.map(|_| ())
    }

    async fn look_for_redrives(&mut self) -> Result<()> {
        for lane in self.lanes.values_mut() {
            let stuck = lane.stuck();
            if stuck.is_empty() {
                continue;
            }
            let ids: Vec<_> = stuck.iter().map(|(_, id)| *id).collect();
            let noted = self.feed.streams.noted(&ids).await?;
            for ((key, _), noted) in stuck.iter().zip(noted) {
                if !noted {
                    lane.redrive(key);
                }
            }
        }
        Ok(())
    }
}

impl Feed {
    async fn member(&self, stay: bool) -> Result<u64> {
        let streams = &self.streams;
        let call = MEMBER.key(streams.members()).arg(&self.id).arg(LEASE.as_millis() as u64);
        streams.redis.run(&call.arg(u8::from(stay))).await
    }

    async fn hold(&self, (database, lane): &Name, take: bool) -> Result<(u8, usize)> {
        let streams = &self.streams;
        let call = HOLD.key(streams.owner(database, *lane)).key(streams.stream(database, *lane));
        let call = call.arg(&self.id).arg(LEASE.as_millis() as u64).arg(&*streams.group);
        streams.redis.run(&call.arg(u8::from(take))).await
    }

    async fn release(&self, (database, lane): &Name) -> Result<()> {
        let call = RELEASE.key(self.streams.owner(database, *lane)).arg(&self.id);
        let _was_ours: u8 = self.streams.redis.run(&call).await?;
        Ok(())
    }
}
