//! Without TLS: only plain connections, nothing to configure.

use ::redis::{Client, ConnectionInfo, RedisError, cluster::ClusterClientBuilder};

use super::config::config;
use crate::Result;

#[derive(Clone, Debug, Default)]
pub(super) struct Tls {}

impl Tls {
    pub(super) fn client(&self, node: ConnectionInfo) -> Result<Client> {
        Client::open(node).map_err(|error| config("redis: bad URL").with_source(error))
    }

    pub(super) fn check(&self, _: &[ConnectionInfo]) -> Result<()> {
        Ok(())
    }

    pub(super) fn around(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        builder
    }
}

pub(super) fn refusal(_: &RedisError) -> Option<&'static str> {
    None
}
