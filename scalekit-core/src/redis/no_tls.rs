//! Without TLS: only plain connections, nothing to configure.

use ::redis::{Client, ConnectionInfo, RedisError, cluster::ClusterClientBuilder};

use super::config::config;
use crate::Result;

#[derive(Clone, Debug, Default)]
pub(super) struct Tls;

impl Tls {
    #[expect(clippy::unused_self, reason = "the same signature as with TLS")]
    pub(super) fn client(&self, node: ConnectionInfo) -> Result<Client> {
        Client::open(node).map_err(|error| config("redis: bad URL").with_source(error))
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the same signature as with TLS")]
    pub(super) fn check(&self, _: &[ConnectionInfo]) -> Result<()> {
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "the same signature as with TLS")]
    pub(super) fn around(&self, builder: ClusterClientBuilder) -> ClusterClientBuilder {
        builder
    }
}

pub(super) fn refusal(_: &RedisError) -> Option<&'static str> {
    None
}
