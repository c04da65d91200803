//! A TCP proxy that delays, cuts, swallows, and counts round trips.
mod count;
mod pump;
mod worker;

use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use self::{
    count::Shared,
    worker::{Mode, Order},
};
use crate::os::{Port, free_port};

/// A TCP proxy on a loopback port of its own, before any server.
///
/// **Round trips.** One is counted whenever the server answers after the client has sent: the turns from
/// client to server to client, summed over the connections. However many packets, pipelined commands or
/// statements the client sends before the first byte of an answer, that is one. What the server sends unasked
/// is none, and so is what the client sends without an answer (the farewell of a Postgres connection). On a
/// multiplexed Redis connection this counts the turns of the connection, not the commands: two tasks whose
/// commands overlap may share one. So count sequential work, on connections that nobody else uses. The count is
/// up to date as soon as the client sees the answer. Opening a connection counts as what it sends.
///
/// The proxy runs on a thread of its own: a test that blocks or pauses its runtime's clock does not disturb it.
#[derive(Debug)]
pub struct Proxy {
    port: Arc<Port>,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy to the address, such as `server.addr()`; returns when it accepts.
    pub async fn to(target: impl ToSocketAddrs) -> Self {
        let target = target.to_socket_addrs().ok().and_then(|mut all| all.next());
        let target = target.unwrap_or_else(|| panic!("the proxy's target is no address"));
        let port = Arc::new(free_port());
        let shared = Arc::new(Shared::default());
        let (orders, inbox) = mpsc::unbounded_channel();
        let work = worker::run(target, Arc::clone(&port), Arc::clone(&shared), inbox);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap_or_else(|e| panic!("the proxy's runtime: {e}")).block_on(work);
        });
        let proxy = Self { port, shared, orders, thread: Some(thread) };
        proxy.order(Mode::Pass).await;
        proxy
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Delays all bytes by this much in **each** direction, so an answer takes twice as long. Order is kept.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.set_delay(delay);
    }

    /// Resets every connection and refuses new ones until [`heal`](Self::heal); returns when that is so.
    pub async fn cut(&self) {
        self.order(Mode::Cut).await;
    }

    /// Swallows all bytes, both ways, and still accepts: nobody gets an answer or an error.
    pub async fn blackhole(&self) {
        self.order(Mode::Hole).await;
    }

    /// Passes bytes again. Connections that were in the black hole have lost bytes, so they are reset.
    pub async fn heal(&self) {
        self.order(Mode::Pass).await;
    }

    /// Round trips since the start or the last [`reset`](Self::reset); what counts is told on [`Proxy`].
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips()
    }

    /// Bytes that clients have sent since the start or the last [`reset`](Self::reset).
    #[must_use]
    pub fn bytes_up(&self) -> u64 {
        self.shared.bytes_up()
    }

    /// Bytes that the server has sent since the start or the last [`reset`](Self::reset).
    #[must_use]
    pub fn bytes_down(&self) -> u64 {
        self.shared.bytes_down()
    }

    /// Connections accepted since the start or the last [`reset`](Self::reset).
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted()
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.shared.open()
    }

    /// Sets all counts to 0 (the open connections stay counted in `open_connections`).
    pub fn reset(&self) {
        self.shared.reset();
    }

    async fn order(&self, mode: Mode) {
        let (done, wait) = oneshot::channel();
        let sent = self.orders.send(Order { mode, done }).is_ok();
        assert!(sent && wait.await.is_ok(), "the proxy on port {} has died", self.port());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The thread ends when nobody can give it orders any more.
        let (orders, _) = mpsc::unbounded_channel();
        drop(std::mem::replace(&mut self.orders, orders));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
