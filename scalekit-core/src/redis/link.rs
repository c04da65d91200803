//! The one connection that all commands share: made on first use, replaced when it is of no more use.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use ::redis::{
    Client, ProtocolVersion, PushInfo, PushKind, RedisError,
    aio::{MultiplexedConnection, SendError},
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use super::config::RedisConfig;

/// A connection that is shared by cloning it.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    ended: Arc<AtomicBool>,
}

/// Holds the current connection; callers that find none share one attempt.
pub(super) struct Links {
    client: Arc<Client>,
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
    pub(super) fn new(client: Client, config: RedisConfig) -> Self {
        Self { client: Arc::new(client), config, slot: Mutex::default() }
    }

    /// For connections of another kind.
    pub(super) fn client(&self) -> &Client {
        &self.client
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
                // One that has failed while nobody waited says nothing about now.
                State::Connecting(attempt) if !matches!(attempt.clone().now_or_never(), Some(Err(_))) => {
                    (attempt.clone(), slot.generation)
                }
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
        let (client, config) = (self.client.clone(), self.config.clone());
        let task = tokio::spawn(async move { connect(&client, &config).await });
        let flat = async move { task.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into())) };
        flat.boxed().shared()
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(client: &Client, config: &RedisConfig) -> Result<Link, RedisError> {
    let ended = Arc::new(AtomicBool::new(false));
    let mut settings = config.connection();
    // Only RESP3 tells when the connection ends.
    if client.get_connection_info().redis_settings().protocol() == ProtocolVersion::RESP3 {
        let flag = ended.clone();
        settings = settings.set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                flag.store(true, Ordering::Release);
            }
            Ok::<(), SendError>(())
        });
    }
    let connecting = client.get_multiplexed_async_connection_with_config(&settings);
    let connection = tokio::time::timeout(config.connect_timeout, connecting).await;
    let timed_out = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    let connection = connection.unwrap_or_else(|_| Err(timed_out()))?;
    Ok(Link { connection, ended })
}

impl Link {
    /// Whether the driver has told that the connection is gone.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn connection(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }
}
