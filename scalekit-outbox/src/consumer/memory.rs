//! Feeding from the memory sink.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Dispatch, Feed};
use crate::{MemorySink, memory::Parcel};

/// Most events in work or waiting for their turn; further ones stay in the queue.
const IN_WORK: usize = 1024;

#[async_trait]
impl Feed for Arc<MemorySink> {
    async fn run(&self, dispatch: Arc<Dispatch>, cancel: CancellationToken) {
        // The queue is this process's own.
        dispatch.hold_until(None);
        let mut exit = tokio::select! {
            exit = self.exit() => exit,
            () = cancel.cancelled() => return,
        };
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = tasks.join_next() => {}
                parcel = exit.recv(), if tasks.len() < IN_WORK => {
                    let Some(Parcel { event, verdict, .. }) = parcel else { break };
                    let delivery = dispatch.deliver(Arc::new(event));
                    tasks.spawn(async move {
                        let _sender_gone = verdict.send(delivery.await);
                    });
                }
                () = cancel.cancelled() => break,
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}
