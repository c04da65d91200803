//! The one connection that all commands share: made on first use, replaced when it is of no more use.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ::redis::{
    Client, Cmd, Pipeline, PushKind, RedisError, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use super::config::RedisConfig;

/// What to connect to.
pub(super) enum Target {
    /// `watched`: the driver tells when the connection ends.
    Server { client: Box<Client>, watched: bool },
    /// The nodes it was told of, each by itself, too.
    Cluster { client: Box<ClusterClient>, nodes: Vec<Client> },
}

/// A connection that is shared by cloning it.
#[derive(Clone)]
pub(super) struct Link {
    connection: Connection,
    ended: Arc<AtomicBool>,
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Holds the current connection; callers that find none share one attempt.
pub(super) struct Links {
    target: Arc<Target>,
    config: RedisConfig,
    slot: Mutex<Slot>,
}

type Attempt = Shared<BoxFuture<'static, Result<Link, RedisError>>>;

#[derive(Default)]
struct Slot {
    generation: u64,
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    Empty,
    Connecting(Attempt),
    Up(Link),
}

impl Links {
    pub(super) fn new(target: Target, config: RedisConfig) -> Self {
        Self { target: Arc::new(target), config, slot: Mutex::default() }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(*self.target, Target::Cluster { .. })
    }

    /// Each node by itself: the server, or those that were named of a Cluster.
    pub(super) fn nodes(&self) -> &[Client] {
        match &*self.target {
            Target::Server { client, .. } => std::slice::from_ref(client),
            Target::Cluster { nodes, .. } => nodes,
        }
    }

    pub(super) fn connect_timeout(&self) -> std::time::Duration {
        self.config.connect_timeout
    }

    /// The connection and its generation, by which [`drop_link`](Self::drop_link) names it.
    pub(super) async fn get(&self) -> Result<(Link, u64), RedisError> {
        let (attempt, generation) = {
            let mut slot = self.lock();
            if let State::Up(link) = &slot.state {
                if !link.has_ended() {
                    return Ok((link.clone(), slot.generation));
                }
                slot.state = State::Empty;
            }
            match &slot.state {
                State::Connecting(attempt) => (attempt.clone(), slot.generation),
                _ => {
                    slot.generation += 1;
                    let attempt = self.attempt();
                    slot.state = State::Connecting(attempt.clone());
                    (attempt, slot.generation)
                }
            }
        };
        let result = attempt.await;
        let mut slot = self.lock();
        if slot.generation == generation && matches!(slot.state, State::Connecting(_)) {
            slot.state = result.as_ref().map_or(State::Empty, |link| State::Up(link.clone()));
        }
        result.map(|link| (link, generation))
    }

    /// Lets go of this connection; the next command makes a new one. Those that wait on it go on waiting.
    pub(super) fn drop_link(&self, generation: u64) {
        let mut slot = self.lock();
        if slot.generation == generation && matches!(slot.state, State::Up(_)) {
            slot.state = State::Empty;
        }
    }

    /// A connection of its own.
    pub(super) async fn own(&self) -> Result<Link, RedisError> {
        self.attempt().await
    }

    /// Connects in a task of its own: a caller that gives up must not cancel what the next one waits for.
    fn attempt(&self) -> Attempt {
        let (target, config) = (self.target.clone(), self.config.clone());
        let task = tokio::spawn(async move { connect(&target, &config).await });
        let flat = async move { task.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into())) };
        flat.boxed().shared()
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("cluster", &self.is_cluster()).finish_non_exhaustive()
    }
}

async fn connect(target: &Target, config: &RedisConfig) -> Result<Link, RedisError> {
    let ended = Arc::new(AtomicBool::new(false));
    let all = async {
        match target {
            Target::Server { client, watched: false } => {
                client.get_multiplexed_async_connection_with_config(&config.connection()).await
            }
            Target::Server { client, watched: true } => {
                let flag = ended.clone();
                let watch = move |push: ::redis::PushInfo| {
                    if push.kind == PushKind::Disconnection {
                        flag.store(true, Ordering::Release);
                    }
                    Ok::<(), ::redis::aio::SendError>(())
                };
                let config = config.connection().set_push_sender(watch);
                client.get_multiplexed_async_connection_with_config(&config).await
            }
            Target::Cluster { client, .. } => {
                return client.get_async_connection().await.map(Connection::Cluster);
            }
        }
        .map(Connection::Server)
    };
    let connection = tokio::time::timeout(config.connect_timeout, all).await;
    let timed_out = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connection = connection.unwrap_or_else(|_| Err(timed_out()))?;
    Ok(Link { connection, ended })
}

impl Link {
    pub(super) async fn send(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let value = self.req_packed_command(command).await?;
        value.extract_error()
    }

    /// Whether the driver has told that the connection is gone.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.connection {
            Connection::Server(connection) => connection.req_packed_command(cmd),
            Connection::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.connection {
            Connection::Server(connection) => connection.req_packed_commands(cmd, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(cmd, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.connection {
            Connection::Server(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}
