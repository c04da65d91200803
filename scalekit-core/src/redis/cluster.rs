//! A Cluster: a connection and a gate for each node, and who serves which slot.

mod address;
mod lesson;
mod map;
mod picture;
mod pipeline;
mod route;
mod walk;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use ::redis::{Client, Cmd, ConnectionInfo, Value};

use self::{lesson::Lessons, map::Map, picture::Picture};
use super::{
    RedisConfig,
    node::{Entry, Failure, Limit, Node, Work},
};
use crate::{Error, ErrorKind, Gate, Result};

pub(super) use self::{address::Address, walk::Walk};

/// Nodes of each kind that are asked in one lesson.
const ASKED: usize = 16;

/// The Cluster, shared by those who use it and the task that learns about it.
pub(super) struct Cluster(Arc<Inner>);

struct Inner {
    /// How nodes that were not named are connected to.
    template: ConnectionInfo,
    config: RedisConfig,
    seeds: Vec<Address>,
    known: RwLock<Known>,
    lessons: Lessons,
    /// Of those who wait for the first map.
    gate: Gate,
    turn: AtomicUsize,
}

struct Known {
    map: Map,
    nodes: HashMap<Address, Arc<Member>>,
}

/// A node, and what it is called.
pub(super) struct Member {
    pub(super) node: Node,
    address: Address,
}

impl Cluster {
    /// A Cluster of which these nodes are known; they share credentials and settings.
    pub(super) fn new(seeds: Vec<(Address, Client)>, template: ConnectionInfo, config: RedisConfig) -> Self {
        let addresses = seeds.iter().map(|(address, _)| address.clone()).collect();
        let member = |(address, client): (Address, Client)| {
            let node = Node::new(client, config.clone());
            (address.clone(), Arc::new(Member { node, address }))
        };
        let known = Known { map: Map::empty(), nodes: seeds.into_iter().map(member).collect() };
        Self(Arc::new(Inner {
            template,
            config,
            seeds: addresses,
            known: RwLock::new(known),
            lessons: Lessons::default(),
            gate: Gate::new("redis is down"),
            turn: AtomicUsize::new(0),
        }))
    }

    /// Whether no slot can be served: all masters are taken to be down, or none was ever found.
    pub(super) fn is_down(&self) -> bool {
        let known = self.0.known();
        let mut masters = known.map.masters().iter().peekable();
        if masters.peek().is_none() {
            return self.0.gate.is_down();
        }
        masters.all(|address| known.nodes.get(address).is_some_and(|member| member.node.gate.is_down()))
    }

    /// Sends to the node of the key, following redirects.
    pub(super) async fn command(&self, command: &Cmd, limit: Limit) -> Result<Value, Failure> {
        let mut walk = Walk::of(command);
        loop {
            let member = self.next_stop(&mut walk, limit).await?;
            let work = if walk.asking { Work::Asking(command) } else { Work::One(command) };
            match member.node.attempt(work, limit, walk.entry).await {
                Ok(value) => return Ok(value),
                Err(failure) => {
                    if !self.follow(&mut walk, &member, &failure, limit).await {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Sends to each master, all at once.
    pub(super) async fn each(&self, command: &Cmd, limit: Limit) -> Result<Vec<Value>, Failure> {
        self.learnt(limit).await?;
        let masters = {
            let known = self.0.known();
            known.map.masters().to_vec()
        };
        let asked = masters.iter().map(|address| {
            let member = self.0.member(address);
            async move { member?.node.attempt(Work::One(command), limit, Entry::Gated).await }
        });
        let answers = futures_util::future::join_all(asked).await;
        if answers.iter().any(Result::is_err) {
            self.learn_soon();
        }
        answers.into_iter().collect()
    }

    /// Clients of nodes to turn to where any will do, in the order in which to try them.
    pub(super) fn clients(&self) -> Vec<Client> {
        self.0.candidates().iter().map(|member| member.node.links.client().clone()).collect()
    }

    /// Something is wrong: who serves what is asked again, but nobody waits for it.
    pub(super) fn learn_soon(&self) {
        self.0.lesson(lesson::EVERY);
    }

    /// Any node that serves slots, each in turn; one that is up, if there is one.
    fn pick(&self) -> Result<Arc<Member>> {
        let nobody = || Error::new(ErrorKind::Unavailable, "redis has no node");
        self.0.candidates().into_iter().next().ok_or_else(nobody)
    }
}

impl Inner {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self, slot: u16) -> Result<Option<Arc<Member>>> {
        let address = {
            let known = self.known();
            let Some(address) = known.map.owner(slot) else { return Ok(None) };
            if let Some(member) = known.nodes.get(address) {
                return Ok(Some(Arc::clone(member)));
            }
            address.clone()
        };
        self.member(&address).map(Some)
    }

    /// The node that listens there, known or not.
    fn member(&self, address: &Address) -> Result<Arc<Member>> {
        if let Some(member) = self.known().nodes.get(address) {
            return Ok(Arc::clone(member));
        }
        let client = self.config.tls.client(address.like(&self.template))?;
        let fresh = Member { node: Node::new(client, self.config.clone()), address: address.clone() };
        let mut known = self.known_mut();
        Ok(Arc::clone(known.nodes.entry(address.clone()).or_insert_with(|| Arc::new(fresh))))
    }

    /// The nodes to turn to where any will do: masters in turn, replicas, seeds; those that are down last.
    fn candidates(&self) -> Vec<Arc<Member>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (masters, replicas) = {
            let known = self.known();
            (known.map.masters().to_vec(), known.map.replicas().to_vec())
        };
        let in_turn = |all: &[Address]| {
            let from = turn.checked_rem(all.len()).unwrap_or(0);
            all.iter().cycle().skip(from).take(all.len().min(ASKED)).cloned().collect::<Vec<_>>()
        };
        let mut seen = std::collections::HashSet::new();
        let named = [in_turn(&masters), in_turn(&replicas), in_turn(&self.seeds)].concat();
        let members = named.iter().filter(|address| seen.insert((*address).clone()));
        let mut members: Vec<_> = members.filter_map(|address| self.member(address).ok()).collect();
        members.sort_by_key(|member| member.node.gate.is_down());
        members
    }

    fn adopt(&self, picture: &Picture) {
        let mut known = self.known_mut();
        let Known { map, nodes } = &mut *known;
        map.adopt(picture, |address| nodes.get(address).is_some_and(|member| member.node.gate.is_down()));
        let kept = |address: &Address| {
            map.masters().contains(address)
                || map.replicas().contains(address)
                || self.seeds.contains(address)
        };
        nodes.retain(|address, _| kept(address));
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Unreached(error)
    }
}
