//! One server: its connection, its gate, and what a failure says about it.

use std::time::Duration;

use ::redis::{
    Client, Cmd, Pipeline, RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cmd, pipe,
};
use tokio::time::Instant;

use super::{
    RedisConfig,
    classify::{Verdict, unconnected, verdict},
    link::{Link, Links},
    stall::wait,
};
use crate::{Error, ErrorKind, Gate, Result};

/// A server with one connection that all commands share.
pub(super) struct Node {
    pub(super) links: Links,
    pub(super) gate: Gate,
}

/// How long a command may take.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub(super) deadline: Instant,
    pub(super) budget: Duration,
}

/// Who may try a server that is taken to be down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// One caller per interval.
    Gated,
    /// One that has good reason to.
    Free,
}

/// What is sent at once.
#[derive(Clone, Copy)]
pub(super) enum Work<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
    /// To the node that a slot is moving to.
    Asking(&'a Cmd),
    /// All answers of a pipeline in one array, refusals and those of `MULTI` and `EXEC` too.
    Raw(&'a Pipeline),
}

/// Why there is no value.
pub(super) enum Failure {
    /// The connection handed back this error after the command was given to it.
    Answer(RedisError),
    /// Turned away at the gate; nothing was sent.
    Turned(Error),
    /// There is no connection; nothing was sent.
    Unreached(Error),
    /// Nothing came in time.
    Unanswered(Error),
}

impl Limit {
    pub(super) fn of(budget: Duration) -> Self {
        Self { deadline: Instant::now() + budget, budget }
    }
}

impl Node {
    pub(super) fn new(client: Client, config: RedisConfig) -> Self {
        Self { links: Links::new(client, config), gate: Gate::new("redis is down") }
    }

    /// Sends at most once.
    pub(super) async fn attempt(&self, work: Work<'_>, limit: Limit, entry: Entry) -> Result<Value, Failure> {
        let (gate, links) = (&self.gate, &self.links);
        if entry == Entry::Gated {
            gate.admit().map_err(Failure::Turned)?;
        }
        let (mut link, generation) = match wait(limit.deadline, limit.budget, links.get()).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                gate.refused();
                return Err(Failure::Unreached(unconnected(error)));
            }
            Err(_) => {
                gate.timed_out();
                return Err(Failure::Unreached(late("redis did not connect in time")));
            }
        };
        let error = match wait(limit.deadline, limit.budget, work.send(&mut link)).await {
            Ok(Ok(value)) => {
                match refusals(&value).any(|error| verdict(&error) == Verdict::NotReady) {
                    true => gate.refused(),
                    false => gate.succeeded(),
                }
                return Ok(value);
            }
            Ok(Err(error)) => error,
            Err(_) => {
                gate.timed_out();
                if gate.is_down() {
                    // A connection into a black hole never breaks by itself.
                    links.drop_link(generation);
                }
                let error = Error::new(ErrorKind::OutcomeUnknown, "redis did not answer in time");
                return Err(Failure::Unanswered(error));
            }
        };
        match verdict(&error) {
            Verdict::Answered | Verdict::NoScript | Verdict::Moved | Verdict::Unsettled => gate.succeeded(),
            Verdict::NotReady => gate.refused(),
            // A server that was demoted stays so for a while: it is asked again at the gate's pace.
            Verdict::Elsewhere => {
                links.drop_link(generation);
                gate.refused();
            }
            Verdict::Lost => links.drop_link(generation),
        }
        Err(Failure::Answer(error))
    }

    /// A connection of its own.
    pub(super) async fn own(&self) -> Result<Link> {
        self.gate.admit()?;
        let limit = Instant::now() + self.links.connect_timeout();
        match tokio::time::timeout_at(limit, self.links.own()).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => {
                self.gate.refused();
                Err(unconnected(error))
            }
            Err(_) => {
                self.gate.timed_out();
                Err(late("redis did not connect in time"))
            }
        }
    }
}

impl Work<'_> {
    pub(super) async fn send(self, link: &mut Link) -> Result<Value, RedisError> {
        match self {
            Self::One(command) => link.connection().req_packed_command(command).await?.extract_error(),
            Self::Many(pipeline) => pipeline.query_async(link.connection()).await,
            Self::Asking(command) => {
                let mut both = pipe();
                both.add_command(cmd("ASKING")).add_command(command.clone());
                let mut answers = raw(&both, link.connection()).await?;
                answers.pop().unwrap_or(Value::Nil).extract_error()
            }
            Self::Raw(pipeline) => raw(pipeline, link.connection()).await.map(Value::Array),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer(error) => super::classify::sent(error),
            Failure::Turned(error) | Failure::Unreached(error) | Failure::Unanswered(error) => error,
        }
    }
}

/// What the server refused of an answer to [`Work::Raw`].
pub(super) fn refusals(answer: &Value) -> impl Iterator<Item = RedisError> + '_ {
    let items = if let Value::Array(items) = answer { items.as_slice() } else { &[] };
    items.iter().filter_map(refusal)
}

/// Why the server refused this one.
pub(super) fn refusal(answer: &Value) -> Option<RedisError> {
    match answer {
        Value::ServerError(error) => Some(error.clone().into()),
        _ => None,
    }
}

async fn raw(pipeline: &Pipeline, connection: &mut MultiplexedConnection) -> Result<Vec<Value>, RedisError> {
    let around = if pipeline.is_transaction() { 2 } else { 0 };
    connection.req_packed_commands(pipeline, 0, pipeline.len() + around).await
}

fn late(message: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}
