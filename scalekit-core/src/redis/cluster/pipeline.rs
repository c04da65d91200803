//! Pipelines in a Cluster: what was redirected is sent again, and nothing else.

use std::sync::Arc;

use ::redis::{Cmd, Pipeline, RedisError, RedisFuture, Value, aio::ConnectionLike, cmd, pipe};

use super::{Cluster, Member, route, walk::Walk};
use crate::{
    Error, ErrorKind,
    redis::{
        classify::{Verdict, verdict},
        node::{Failure, Limit, Work, refusal},
    },
};

impl Cluster {
    /// Sends the commands in one round trip, if none is redirected.
    pub(in crate::redis) async fn pipeline(
        &self,
        pipeline: &Pipeline,
        limit: Limit,
    ) -> Result<Value, Failure> {
        // The driver composes the answer: which are left out, and what many refusals are as one error.
        let mut sending = Sending { cluster: self, limit, failure: None };
        let outcome = pipeline.query_async(&mut sending).await;
        outcome.map_err(|error| sending.failure.unwrap_or(Failure::Answer(error)))
    }

    /// The answer of each command. A command that was redirected was not executed, but those beside it were.
    async fn each_alone(&self, pipeline: &Pipeline, limit: Limit) -> Result<Vec<Value>, Failure> {
        let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
        let mut answers = vec![Value::Nil; commands.len()];
        let mut open: Vec<usize> = (0..commands.len()).collect();
        let mut walk = Walk::to(route::of_pipeline(pipeline));
        loop {
            let member = self.next_stop(&mut walk, limit).await?;
            let some = (open.len() < commands.len() || walk.asking)
                .then(|| again(open.iter().filter_map(|at| commands.get(*at).copied()), walk.asking));
            let asked = walk.asking;
            let failure = match self.sent(&member, some.as_ref().unwrap_or(pipeline), &walk, limit).await {
                Ok(values) => {
                    let skipped = usize::from(asked);
                    let values = values.into_iter().skip(skipped).step_by(1 + skipped);
                    open.iter().zip(values).for_each(|(at, value)| {
                        if let Some(answer) = answers.get_mut(*at) {
                            *answer = value;
                        }
                    });
                    open.retain(|at| {
                        answers.get(*at).and_then(refusal).is_some_and(|error| redirects(&error))
                    });
                    match open.iter().filter_map(|at| answers.get(*at).and_then(refusal)).next() {
                        None => return Ok(answers),
                        Some(error) => Failure::Answer(error),
                    }
                }
                Err(failure) => failure,
            };
            if !self.follow(&mut walk, &member, &failure, limit).await {
                return match failure {
                    Failure::Answer(error) if redirects(&error) => Ok(answers),
                    failure if open.len() == commands.len() => Err(failure),
                    failure => {
                        let message = "a part of the pipeline was executed, the rest not";
                        let error = Error::new(ErrorKind::OutcomeUnknown, message);
                        Err(Failure::Unanswered(error.with_source(Error::from(failure))))
                    }
                };
            }
        }
    }

    /// The answer of `EXEC`. Where a command between was redirected, none was executed.
    async fn all_or_none(&self, pipeline: &Pipeline, limit: Limit) -> Result<Vec<Value>, Failure> {
        let mut walk = Walk::to(route::of_pipeline(pipeline));
        loop {
            let member = self.next_stop(&mut walk, limit).await?;
            let asking = walk.asking.then(|| {
                let mut all = pipe();
                all.add_command(cmd("ASKING")).add_command(cmd("MULTI"));
                for command in pipeline.cmd_iter() {
                    all.add_command(command.clone());
                }
                all.add_command(cmd("EXEC"));
                all
            });
            let failure = match self.sent(&member, asking.as_ref().unwrap_or(pipeline), &walk, limit).await {
                Ok(mut values) => {
                    let refused: Vec<RedisError> = values.iter().filter_map(refusal).collect();
                    let redirect = refused.iter().position(redirects);
                    match (redirect, refused.is_empty()) {
                        (_, true) => return Ok(values.pop().into_iter().collect()),
                        (redirect, false) => match refused.into_iter().nth(redirect.unwrap_or(0)) {
                            Some(error) => Failure::Answer(error),
                            None => return Ok(values.pop().into_iter().collect()),
                        },
                    }
                }
                Err(failure) => failure,
            };
            if !self.follow(&mut walk, &member, &failure, limit).await {
                return Err(failure);
            }
        }
    }

    async fn sent(
        &self,
        member: &Arc<Member>,
        pipeline: &Pipeline,
        walk: &Walk,
        limit: Limit,
    ) -> Result<Vec<Value>, Failure> {
        match member.node.attempt(Work::Raw(pipeline), limit, walk.entry).await? {
            Value::Array(values) => Ok(values),
            other => Ok(vec![other]),
        }
    }
}

/// A connection that is the whole Cluster.
struct Sending<'a> {
    cluster: &'a Cluster,
    limit: Limit,
    failure: Option<Failure>,
}

impl ConnectionLike for Sending<'_> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let outcome = self.cluster.command(command, self.limit).await;
            outcome.map_err(|failure| self.keep(failure))
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let outcome = match pipeline.is_transaction() {
                true => self.cluster.all_or_none(pipeline, self.limit).await,
                false => self.cluster.each_alone(pipeline, self.limit).await,
            };
            outcome.map_err(|failure| self.keep(failure))
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

impl Sending<'_> {
    /// Keeps what an error of the driver's cannot say.
    fn keep(&mut self, failure: Failure) -> RedisError {
        self.failure = Some(failure);
        std::io::Error::other("redis").into()
    }
}

/// Whether nothing was executed, and another node or a later moment may serve the command.
fn redirects(error: &RedisError) -> bool {
    matches!(verdict(error), Verdict::Moved | Verdict::Unsettled | Verdict::NotReady | Verdict::Elsewhere)
}

fn again<'a>(commands: impl Iterator<Item = &'a Cmd>, asking: bool) -> Pipeline {
    let mut some = pipe();
    for command in commands {
        if asking {
            some.add_command(cmd("ASKING"));
        }
        some.add_command(command.clone());
    }
    some
}
