//! A private Redis Cluster.
use std::time::Duration;

use redis::cmd;

use super::{Redis, RedisBuilder, RedisServer, admin, tls::Certificates};
use crate::{
    os::{Port, free_port},
    wait_until,
};

impl Redis {
    /// A Cluster of this many masters, without replicas, that serves every slot; it takes some 3 s. While a node
    /// is down the others go on.
    ///
    /// The slots are dealt in equal ranges in the order of [`nodes`](RedisCluster::nodes).
    pub async fn cluster(nodes: u16) -> RedisCluster {
        Self::cluster_builder(nodes).start().await
    }

    /// As [`cluster`](Self::cluster), with TLS for clients and between the nodes; they share their certificates.
    pub async fn tls_cluster(nodes: u16) -> RedisCluster {
        Self::cluster_builder(nodes).tls().start().await
    }

    /// A Cluster of this many masters, to be configured.
    pub fn cluster_builder(masters: u16) -> RedisClusterBuilder {
        assert!((1..=64).contains(&masters), "a Cluster of {masters} masters");
        RedisClusterBuilder {
            masters,
            replicas: false,
            node_timeout: Duration::from_secs(1),
            certificates: None,
            users: Vec::new(),
        }
    }
}

/// The configuration of a private Redis Cluster.
#[derive(Debug)]
#[must_use]
pub struct RedisClusterBuilder {
    masters: u16,
    replicas: bool,
    node_timeout: Duration,
    certificates: Option<Certificates>,
    users: Vec<(String, String, String)>,
}

impl RedisClusterBuilder {
    /// Gives each master a replica, which takes its place when it has not answered for the time-out.
    pub fn replicas(mut self) -> Self {
        self.replicas = true;
        self
    }

    /// How long a node may not answer the others before it counts as failed; 1 s by default.
    pub fn node_timeout(mut self, timeout: Duration) -> Self {
        self.node_timeout = timeout;
        self
    }

    /// TLS for clients and between the nodes; they share their certificates.
    pub fn tls(mut self) -> Self {
        self.certificates = Some(Certificates::make());
        self
    }

    /// Adds an ACL user to each node, as [`RedisBuilder::acl_user`] does, and refuses those that are none.
    pub fn only_user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.users.push((name.into(), password.into(), rules.into()));
        self
    }

    /// Starts it; returns when it serves every slot and the replicas follow.
    pub async fn start(self) -> RedisCluster {
        let count = if self.replicas { self.masters * 2 } else { self.masters };
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..count {
            // The default, port + 10,000, may be taken.
            let bus = free_port();
            nodes.push(self.node(bus.number()).start().await);
            buses.push(bus);
        }
        let replicas = nodes.split_off(usize::from(self.masters));
        let cluster = RedisCluster { nodes, replicas, buses };
        cluster.meet().await;
        if self.replicas {
            cluster.follow().await;
        }
        cluster
    }

    fn node(&self, bus: u16) -> RedisBuilder {
        let mut node = Redis::builder()
            .setting("cluster-enabled", "yes")
            .setting("cluster-config-file", "nodes.conf")
            .setting("cluster-node-timeout", &self.node_timeout.as_millis().to_string())
            .setting("cluster-require-full-coverage", "no")
            .setting("cluster-allow-replica-migration", "no")
            .setting("cluster-port", &bus.to_string())
            .setting("repl-diskless-sync-delay", "0");
        if let Some(certificates) = &self.certificates {
            node = node.tls_with(certificates.clone()).setting("tls-cluster", "yes");
            node = node.setting("tls-replication", "yes");
        }
        for (name, password, rules) in &self.users {
            node = node.acl_user(name, password, rules).default_user_off();
            node = node.setting("masteruser", name).setting("masterauth", password);
        }
        node
    }
}

/// A private Redis Cluster; every node can be killed, paused and restarted by itself.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    replicas: Vec<RedisServer>,
    buses: Vec<Port>,
}

impl RedisCluster {
    /// The nodes that were masters at first, by the slots they were dealt.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Each follows the node of the same place among [`nodes`](Self::nodes).
    #[must_use]
    pub fn replicas(&self) -> &[RedisServer] {
        &self.replicas
    }

    /// The URLs of all nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().chain(&self.replicas).map(RedisServer::url).collect()
    }

    /// The slot of a key.
    ///
    /// # Panics
    /// If the first node does not answer.
    pub async fn slot_of(&self, key: &str) -> u16 {
        let slot = admin::run(&self.nodes[0], cmd("CLUSTER").arg("KEYSLOT").arg(key)).await;
        slot.trim().parse().unwrap_or_else(|_| panic!("no slot of the Cluster's: {slot}"))
    }

    /// The place among [`nodes`](Self::nodes) of the one that a key was dealt to.
    ///
    /// # Panics
    /// If the first node does not answer.
    pub async fn node_of(&self, key: &str) -> usize {
        let (slot, count) = (usize::from(self.slot_of(key).await), self.nodes.len());
        let node = (0..count).find(|node| slot < (node + 1) * 16_384 / count);
        node.unwrap_or_else(|| panic!("no slot of the Cluster's: {slot}"))
    }

    /// Begins to move a slot: its keys are on both nodes from now on.
    pub async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        setslot(to, slot, "IMPORTING", &id(from).await).await;
        setslot(from, slot, "MIGRATING", &id(to).await).await;
    }

    /// Moves some of the slot's keys; whether there were any.
    pub async fn move_keys(&self, slot: u16, from: usize, to: usize, most: usize) -> bool {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let keys = admin::run(from, cmd("CLUSTER").arg("GETKEYSINSLOT").arg(slot).arg(most)).await;
        let keys: Vec<&str> = keys.lines().collect();
        if keys.is_empty() {
            return false;
        }
        let mut migrate = cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(to.port()).arg("").arg(0).arg(5_000);
        migrate.arg("AUTH2").arg(RedisServer::ADMIN).arg(&to.admin_password).arg("KEYS").arg(&keys);
        admin::run(from, &migrate).await;
        true
    }

    /// Ends a move: the two nodes know it at once; returns when the others do, too. Before that, the next move could
    /// be of the same epoch, and the nodes would not agree for a while.
    pub async fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let owner = id(to).await;
        for node in [to, from] {
            setslot(node, slot, "NODE", &owner).await;
        }
        wait_until("all nodes know who has the slot", Duration::from_secs(60), || async {
            let mut epochs = std::collections::BTreeSet::new();
            for node in self.nodes.iter().chain(&self.replicas) {
                let nodes = admin::run(node, cmd("CLUSTER").arg("NODES")).await;
                if !nodes.lines().any(|line| line.starts_with(&owner) && has(line, slot)) {
                    return false;
                }
                let info = admin::run(node, cmd("CLUSTER").arg("INFO")).await;
                epochs.extend(info.lines().find(|l| l.contains("current_epoch")).map(str::to_owned));
            }
            epochs.len() == 1
        })
        .await;
    }

    async fn meet(&self) {
        let count = self.nodes.len();
        for (i, node) in self.nodes.iter().enumerate() {
            let (first, end) = (i * 16_384 / count, (i + 1) * 16_384 / count);
            admin::run(node, cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(end - 1)).await;
            admin::run(node, cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(i + 1)).await;
        }
        let all = || self.nodes.iter().chain(&self.replicas);
        for (node, bus) in all().zip(&self.buses).skip(1) {
            let mut meet = cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(node.port()).arg(bus.number());
            admin::run(&self.nodes[0], &meet).await;
        }
        let known = format!("cluster_known_nodes:{}\r", all().count());
        wait_until("every node knows all others and all slots", Duration::from_secs(60), || async {
            for node in all() {
                let info = admin::run(node, cmd("CLUSTER").arg("INFO")).await;
                if !info.contains("cluster_state:ok\r") || !info.contains(&known) {
                    return false;
                }
            }
            true
        })
        .await;
    }
    async fn follow(&self) {
        for (replica, master) in self.replicas.iter().zip(&self.nodes) {
            admin::run(replica, cmd("CLUSTER").arg("REPLICATE").arg(id(master).await)).await;
        }
        wait_until("every replica follows, and all nodes know", Duration::from_secs(60), || async {
            for replica in &self.replicas {
                let info = admin::run(replica, cmd("INFO").arg("replication")).await;
                if !info.contains("master_link_status:up\r") {
                    return false;
                }
            }
            for node in self.nodes.iter().chain(&self.replicas) {
                let nodes = admin::run(node, cmd("CLUSTER").arg("NODES")).await;
                let following = nodes.lines().filter(|line| line.contains("slave")).count();
                if following != self.replicas.len() {
                    return false;
                }
            }
            true
        })
        .await;
    }
}

async fn id(node: &RedisServer) -> String {
    admin::run(node, cmd("CLUSTER").arg("MYID")).await.trim().to_owned()
}

async fn setslot(node: &RedisServer, slot: u16, what: &str, other: &str) {
    admin::run(node, cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(what).arg(other)).await;
}

/// Whether a line of `CLUSTER NODES` has the slot in one of its ranges.
fn has(line: &str, slot: u16) -> bool {
    line.split(' ').skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let bounds = first.parse::<u16>().ok().zip(last.trim().parse::<u16>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
    })
}
