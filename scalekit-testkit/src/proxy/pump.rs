//! Carries the bytes of one connection, each chunk no earlier than its delay allows.
use std::sync::atomic::Ordering::SeqCst;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::count::Turns;

/// Until both sides have closed, or one has failed.
pub(super) async fn carry(client: TcpStream, server: TcpStream, turns: Turns) {
    let mut ends = Ends { client, server, closed: false };
    let (client_read, client_write) = ends.client.split();
    let (server_read, server_write) = ends.server.split();
    let up = one_way(client_read, server_write, &turns, Turns::client_sent);
    let down = one_way(server_read, client_write, &turns, Turns::server_sent);
    // A side that fails ends both; one that only closes its half does not.
    ends.closed = tokio::try_join!(up, down).is_ok();
}

/// Both sockets. Unless both sides have closed in peace they are reset: by a cut, or because the other side was.
struct Ends {
    client: TcpStream,
    server: TcpStream,
    closed: bool,
}

impl Drop for Ends {
    fn drop(&mut self) {
        if !self.closed {
            let _ = (self.client.set_zero_linger(), self.server.set_zero_linger());
        }
    }
}

/// A chunk and the moment from which it may be passed on.
type Chunk = (Instant, Vec<u8>);

async fn one_way(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    turns: &Turns,
    count: fn(&Turns, usize),
) -> std::io::Result<()> {
    let (sender, receiver) = mpsc::channel(256);
    tokio::try_join!(read(from, sender, turns, count), write(to, receiver, turns)).map(|_| ())
}

async fn read(
    mut from: ReadHalf<'_>,
    chunks: mpsc::Sender<Chunk>,
    turns: &Turns,
    count: fn(&Turns, usize),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = from.read(&mut buffer).await?;
        if turns.shared.hole.load(SeqCst) {
            if n == 0 {
                // Not even the end of a connection gets out of the hole.
                std::future::pending::<()>().await;
            }
            continue;
        }
        if n == 0 {
            return Ok(());
        }
        count(turns, n);
        let due = Instant::now() + turns.shared.delay();
        if chunks.send((due, buffer[..n].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut chunks: mpsc::Receiver<Chunk>,
    turns: &Turns,
) -> std::io::Result<()> {
    while let Some((due, bytes)) = chunks.recv().await {
        sleep_until(due).await;
        if !turns.shared.hole.load(SeqCst) {
            to.write_all(&bytes).await?;
        }
    }
    to.shutdown().await
}
