//! Dividing the lanes among the consumers of a group.

use std::time::Duration;

use futures_util::future::join_all;
use scalekit_core::{Result, redis::Script};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    entry::EntryId,
    feed::{Feed, Reader},
    lanes::{Name, Owned},
};
use crate::consumer::Lease;

static MEMBER: Script = Script::new(include_str!("../lua/member.lua"));
static HOLD: Script = Script::new(include_str!("../lua/hold.lua"));
static RELEASE: Script = Script::new(include_str!("../lua/release.lua"));

/// How long the lanes of a consumer that died stay its own, and how often one that lives says so.
const LEASE: Duration = Duration::from_secs(9);
const BEAT: Duration = Duration::from_secs(2);
/// How long after it was renewed a consumer relies on a lease: its clock may go slower than Redis's.
const HELD: Duration = Duration::from_millis(7200);
/// Most events that are looked for in the list of parked ones in one go.
const ASKED: usize = 1000;
/// How soon one asks again that has less than its share.
const WANTING: Duration = Duration::from_millis(500);

impl Reader<'_> {
    /// Renews the leases, takes or gives lanes, and looks for events that were told to be tried again.
    pub(super) async fn balance(&mut self) {
        let started = Instant::now();
        let renewed = self.renew().await;
        // Who does not know how many share the lanes keeps those it has.
        let shared = match self.feed.member(true).await {
            Ok(members) => self.share(members.max(1)).await,
            Err(error) => Err(error),
        };
        let redriven = self.look_for_redrives().await;
        match shared.and_then(|whole| redriven.map(|()| whole)) {
            Ok(whole) if renewed => {
                self.recovered();
                self.beat = started + if whole { BEAT } else { WANTING };
            }
            Ok(_) => self.beat = started + WANTING,
            Err(error) => {
                self.warn(error);
                self.beat = started + WANTING;
            }
        }
    }

    /// Renews the lease of each lane; whether that went well for all. Round trips: 1, for all at once.
    pub(super) async fn renew(&mut self) -> bool {
        let (started, feed) = (Instant::now(), self.feed);
        self.beat = started + BEAT;
        let renewals = self.lanes.iter_mut().map(|(name, lane)| async move {
            let held = feed.hold(name, false).await;
            if let Ok((1.., pending)) = held {
                lane.lease.extend(started + HELD);
                lane.succeed();
                if pending > lane.open() {
                    // A reply that held entries was lost.
                    lane.history = Some(EntryId::ZERO);
                }
            }
            (name.clone(), held)
        });
        let mut all = true;
        for (name, held) in join_all(renewals).await {
            match held {
                Ok((0, _)) => self.lose(&name),
                Ok(_) => {}
                Err(error) => {
                    all = false;
                    self.failed(&name, error);
                }
            }
        }
        all
    }

    /// Takes or gives lanes until this consumer has its share of them; whether it has at least that.
    async fn share(&mut self, members: u64) -> Result<bool> {
        let all: Vec<Name> = self.feed.streams.lanes().collect();
        let members = usize::try_from(members).unwrap_or(usize::MAX);
        let (least, most) = (all.len() / members, all.len().div_ceil(members));
        let taken = self.take(&all, most).await;
        self.give(most).await?;
        taken.map(|()| self.lanes.len() >= least)
    }

    async fn take(&mut self, all: &[Name], most: usize) -> Result<()> {
        // Each begins elsewhere, so that two do not ask for the same lanes in step.
        let start = self.feed.id.bytes().map(usize::from).sum::<usize>() * 7 % all.len().max(1);
        let mut others: Vec<&Name> = all.iter().cycle().skip(start).take(all.len()).collect();
        others.retain(|name| !self.lanes.contains_key(*name));
        let (mut others, mut outcome) = (others.into_iter(), Ok(()));
        while self.lanes.len() < most {
            let started = Instant::now();
            let feed = self.feed;
            let asked: Vec<&Name> = others.by_ref().take(most - self.lanes.len()).collect();
            if asked.is_empty() {
                break;
            }
            for (name, held) in
                join_all(asked.into_iter().map(|name| async move { (name, feed.hold(name, true).await) }))
                    .await
            {
                match held {
                    Ok((0, _)) => {}
                    Ok(_) => self.own(name, started),
                    Err(error) => outcome = Err(error),
                }
            }
        }
        outcome
    }

    fn own(&mut self, name: &Name, since: Instant) {
        self.terms += 1;
        let streams = &self.feed.streams;
        let (stream, owner) = (streams.stream(&name.0, name.1), streams.owner(&name.0, name.1));
        let lane = Owned::new(stream, owner, self.terms, Lease::until(since + HELD));
        self.lanes.insert(name.clone(), lane);
    }

    async fn give(&mut self, most: usize) -> Result<()> {
        let surplus = self.lanes.len().saturating_sub(most);
        for (place, lane) in self.lanes.values_mut().rev().enumerate() {
            lane.leaving = place < surplus;
        }
        let gone: Vec<Name> = self
            .lanes
            .extract_if(.., |_, lane| lane.leaving && lane.is_at_rest())
            .map(|(name, _)| name)
            .collect();
        self.feed.release_all(gone).await
    }

    /// Lets go of all lanes.
    pub(super) async fn leave(&mut self) -> Result<()> {
        let all = std::mem::take(&mut self.lanes).into_keys().collect();
        let released = self.feed.release_all(all).await;
        self.feed.member(false).await.and(released)
    }

    /// Resumes keys whose first event somebody took off the list. Round trips: 1 per 1,000 of them.
    async fn look_for_redrives(&mut self) -> Result<()> {
        let stuck: Vec<(Name, String, Uuid)> = self
            .lanes
            .iter()
            .flat_map(|(name, lane)| lane.stuck().into_iter().map(|(key, id)| (name.clone(), key, id)))
            .collect();
        for some in stuck.chunks(ASKED) {
            let ids: Vec<Uuid> = some.iter().map(|(_, _, id)| *id).collect();
            let noted = self.feed.streams.noted(&ids).await?;
            for ((name, key, _), _) in some.iter().zip(noted).filter(|(_, noted)| !noted) {
                if let Some(lane) = self.lanes.get_mut(name) {
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

    async fn release_all(&self, names: Vec<Name>) -> Result<()> {
        join_all(names.iter().map(|name| self.release(name))).await.into_iter().collect()
    }

    async fn release(&self, (database, lane): &Name) -> Result<()> {
        let call = RELEASE.key(self.streams.owner(database, *lane)).arg(&self.id);
        let _was_ours: u8 = self.streams.redis.run(&call).await?;
        Ok(())
    }
}
