//! Loopback ports that stay reserved while a server is down.
use std::{fs, fs::File, net::TcpListener};

use super::{make_dir, root};

/// A reserved port on 127.0.0.1, held for as long as the value lives, in use or not.
///
/// Ports come from below the range that the system takes client ports from. So no client socket grabs the port
/// while its server is down, and a client that reconnects meanwhile cannot connect to itself. A file lock keeps
/// every other test process of this user off it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// The port number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn addr(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.number).into()
    }
}

/// Reserves a port on which nobody listens.
#[must_use]
pub fn free_port() -> Port {
    const FIRST: u16 = 12_000;
    let dir = root().join("ports");
    make_dir(&dir);
    let end = client_ports().filter(|low| *low > FIRST + 1_000).unwrap_or(32_768);
    let count = u64::from(end - FIRST);
    let start = crate::random::entropy() % count;
    for step in 0..count {
        let number = FIRST + ((start + step) % count) as u16;
        if let Some(port) = reserve(&dir, number) {
            return port;
        }
    }
    panic!("no free port on 127.0.0.1 from {FIRST} to {end}");
}

fn reserve(dir: &std::path::Path, number: u16) -> Option<Port> {
    let lock = File::create(dir.join(number.to_string())).ok()?;
    lock.try_lock().ok()?;
    TcpListener::bind(("127.0.0.1", number)).ok()?;
    Some(Port { number, _lock: lock })
}

/// The first port that the system gives to clients.
fn client_ports() -> Option<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    range.split_whitespace().next()?.parse().ok()
}
