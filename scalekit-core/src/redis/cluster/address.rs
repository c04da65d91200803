//! Where a node of a Cluster listens.

use std::{fmt, sync::Arc};

use ::redis::{ConnectionAddr, ConnectionInfo};

/// Host and port as the Cluster names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::redis) struct Address {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// `host:port`; where the host is left out, it is that of the node that said so.
    pub(super) fn parse(text: &str, said_by: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if host.is_empty() { Arc::clone(&said_by.host) } else { host.into() };
        Some(Self { host, port: port.parse().ok().filter(|port| *port != 0)? })
    }

    /// `None` for a Unix socket.
    pub(in crate::redis) fn of(node: &ConnectionInfo) -> Option<Self> {
        match node.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self::new(host, *port))
            }
            _ => None,
        }
    }

    /// How to connect to it: as to the node of the template.
    pub(super) fn like(&self, template: &ConnectionInfo) -> ConnectionInfo {
        let (host, port) = (self.host.to_string(), self.port);
        let addr = match template.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        template.clone().set_addr(addr)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_redirect_names_is_read() {
        let asked = Address::new("10.0.0.1", 6379);
        let read = |text: &str| Address::parse(text, &asked);
        assert_eq!(read("10.0.0.2:7000"), Some(Address::new("10.0.0.2", 7000)));
        assert_eq!(read("node.example:7000"), Some(Address::new("node.example", 7000)));
        assert_eq!(read("::1:7000"), Some(Address::new("::1", 7000)));
        assert_eq!(read(":7000"), Some(Address::new("10.0.0.1", 7000)));
        for nothing in ["", "host", "host:", "host:0", "host:70000"] {
            assert_eq!(read(nothing), None, "{nothing}");
        }
    }
}
