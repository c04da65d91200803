//! The proxy's own task: listens, and obeys the handle.
use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    count::{Shared, Turns},
    pump::carry,
};
use crate::os::Port;

/// The longest that a forked process takes to execute its program, on a very busy machine.
const FORK: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Pass,
    Cut,
    Hole,
}

/// A mode, and whom to tell once it is in force.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) mode: Mode,
    pub(super) done: oneshot::Sender<()>,
}

/// Runs until the handle is dropped. Starts without a listener: the first order opens it.
pub(super) async fn run(
    target: SocketAddr,
    port: Arc<Port>,
    shared: Arc<Shared>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut listener: Option<TcpListener> = None;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(Order { mode, done }) = order else { return };
                let was_hole = shared.hole.swap(mode == Mode::Hole, SeqCst);
                if mode == Mode::Cut {
                    listener = None;
                }
                if mode == Mode::Cut || (was_hole && mode == Mode::Pass) {
                    connections.shutdown().await;
                }
                if mode != Mode::Cut && listener.is_none() {
                    listener = Some(listen(&port).await);
                }
                let _ = done.send(());
            }
            client = accept(listener.as_ref()) => {
                connections.spawn(serve(client, target, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Listens again. A server that another test starts just now is forked with a copy of the old listener, which
/// keeps the port until the server's program is executed and closes it.
async fn listen(port: &Port) -> TcpListener {
    let start = Instant::now();
    loop {
        match TcpListener::bind(port.addr()).await {
            Ok(listener) => return listener,
            Err(e) if e.kind() == ErrorKind::AddrInUse && start.elapsed() < FORK => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(e) => panic!("the proxy cannot listen: {e}"),
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
        tokio::task::yield_now().await;
    }
}

async fn serve(client: TcpStream, target: SocketAddr, shared: Arc<Shared>) {
    let turns = Turns::accepted(shared);
    let _ = client.set_nodelay(true);
    if turns.shared.hole.load(SeqCst) {
        swallow(client, turns).await;
    } else if let Ok(server) = TcpStream::connect(target).await {
        let _ = server.set_nodelay(true);
        carry(client, server, turns).await;
    } else {
        // The server refuses: the client shall see an error, not the end of a connection.
        let _ = client.set_zero_linger();
    }
}

/// A connection that was opened in the black hole never reaches the server.
async fn swallow(mut client: TcpStream, turns: Turns) {
    use tokio::io::AsyncReadExt;
    let mut buffer = vec![0; 1 << 16];
    // Reset, not closed, when the hole is healed.
    let _ = client.set_zero_linger();
    while let Ok(n) = client.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        turns.client_sent(n);
    }
}
