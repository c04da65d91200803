//! Without TLS: only plain connections, nothing to configure.

use ::redis::{Client, ConnectionInfo, RedisError};

use super::config::config;
use crate::Result;

#[derive(Clone, Debug, Default)]
pub(super) struct Tls {}

impl Tls {
    pub(super) fn client(&self, node: ConnectionInfo) -> Result<Client> {
        Client::open(node).map_err(|error| config("redis: bad URL").with_source(error))
    }
}

pub(super) fn refusal(_: &RedisError) -> Option<&'static str> {
    None
}
