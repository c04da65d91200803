//! A private Redis Cluster.
use std::time::Duration;

use redis::cmd;

use super::{Redis, RedisBuilder, RedisServer, admin, tls::Certificates};
use crate::{
    os::{Port, free_port},
    wait_until,
};

impl Redis {
    /// A Cluster of this many primaries, without replicas, that serves every slot; it takes some 3 s. While a node
    /// is down the others go on.
    ///
    /// The slots are dealt in equal ranges in the order of [`nodes`](RedisCluster::nodes).
    pub async fn cluster(nodes: u16) -> RedisCluster {
        Self::cluster_of(nodes, |node| node).await
    }

    /// As [`cluster`](Self::cluster), with TLS for clients and between the nodes; they share their certificates.
    pub async fn tls_cluster(nodes: u16) -> RedisCluster {
        let certificates = Certificates::make();
        Self::cluster_of(nodes, |node| node.tls_with(certificates.clone()).setting("tls-cluster", "yes"))
            .await
    }

    async fn cluster_of(nodes: u16, settings: impl Fn(RedisBuilder) -> RedisBuilder) -> RedisCluster {
        assert!((1..=64).contains(&nodes), "a Cluster of {nodes} nodes");
        let mut cluster = RedisCluster { nodes: Vec::new(), _buses: Vec::new() };
        for _ in 0..nodes {
            // The default, port + 10,000, may be taken.
            let bus = free_port();
            let node = Self::builder()
                .setting("cluster-enabled", "yes")
                .setting("cluster-config-file", "nodes.conf")
                .setting("cluster-node-timeout", "1000")
                .setting("cluster-require-full-coverage", "no")
                .setting("cluster-port", &bus.number().to_string());
            cluster.nodes.push(settings(node).start().await);
            cluster._buses.push(bus);
        }
        cluster.meet().await;
        cluster
    }
}

/// A private Redis Cluster; every node can be killed, paused and restarted by itself.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    _buses: Vec<Port>,
}

impl RedisCluster {
    /// The nodes, by the slots they were dealt.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The URLs of all nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }

    /// The place among [`nodes`](Self::nodes) of the one that a key belongs to.
    ///
    /// # Panics
    /// If the first node does not answer.
    pub async fn node_of(&self, key: &str) -> usize {
        let slot = admin::run(&self.nodes[0], cmd("CLUSTER").arg("KEYSLOT").arg(key)).await;
        let count = self.nodes.len();
        let node = slot
            .trim()
            .parse()
            .ok()
            .and_then(|slot: usize| (0..count).find(|node| slot < (node + 1) * 16_384 / count));
        node.unwrap_or_else(|| panic!("no slot of the Cluster's: {slot}"))
    }

    async fn meet(&self) {
        let count = self.nodes.len();
        for (i, node) in self.nodes.iter().enumerate() {
            let (first, end) = (i * 16_384 / count, (i + 1) * 16_384 / count);
            admin::run(node, cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(end - 1)).await;
            admin::run(node, cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(i + 1)).await;
        }
        for (node, bus) in self.nodes.iter().zip(&self._buses).skip(1) {
            let mut meet = cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(node.port()).arg(bus.number());
            admin::run(&self.nodes[0], &meet).await;
        }
        let known = format!("cluster_known_nodes:{count}\r");
        wait_until("every node knows all others and all slots", Duration::from_secs(60), || async {
            for node in &self.nodes {
                let info = admin::run(node, cmd("CLUSTER").arg("INFO")).await;
                if !info.contains("cluster_state:ok\r") || !info.contains(&known) {
                    return false;
                }
            }
            true
        })
        .await;
    }
}
