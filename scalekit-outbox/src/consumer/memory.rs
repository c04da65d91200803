//! Feeding from the memory sink.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Dispatch, Feed, Keys, Lease, Verdict};
use crate::{MemorySink, memory::Parcel};

/// Most events in work or waiting for their turn; further ones stay in the queue.
const HELD: usize = 1024;

/// Database and key.
type Key = (String, String);

#[async_trait]
impl Feed for Arc<MemorySink> {
    async fn run(&self, dispatch: Arc<Dispatch>, cancel: CancellationToken) {
        let mut exit = tokio::select! {
            exit = self.exit() => exit,
            () = cancel.cancelled() => return,
        };
        let mut room = Room { dispatch, keys: Keys::default(), held: 0, tasks: JoinSet::new() };
        loop {
            tokio::select! {
                Some(ended) = room.tasks.join_next() => room.ended(ended.ok()),
                parcel = exit.recv(), if room.held < HELD => {
                    let Some(parcel) = parcel else { break };
                    room.take_in(parcel);
                }
                () = cancel.cancelled() => break,
            }
        }
        while let Some(ended) = room.tasks.join_next().await {
            room.ended(ended.ok());
        }
    }
}

/// What has left the queue and has no verdict yet.
struct Room {
    dispatch: Arc<Dispatch>,
    keys: Keys<Key, Parcel>,
    held: usize,
    tasks: JoinSet<(Parcel, Verdict)>,
}

impl Room {
    fn take_in(&mut self, parcel: Parcel) {
        self.held += 1;
        if let Some(parcel) = self.keys.arrive(key(&parcel), parcel) {
            self.handle(parcel);
        }
    }

    /// Has the handler deal with the event, or with the next of its key that still is to be dealt with.
    fn handle(&mut self, parcel: Parcel) {
        let mut next = Some(parcel);
        while let Some(parcel) = next {
            if parcel.is_wanted() {
                let delivery = self.dispatch.deliver(Arc::clone(&parcel.event), Lease::endless());
                self.tasks.spawn(async move { (parcel, delivery.await) });
                return;
            }
            next = self.keys.done(&key(&parcel));
            self.held -= 1;
            parcel.pass_over();
        }
    }

    fn ended(&mut self, ended: Option<(Parcel, Verdict)>) {
        // Tasks neither panic nor are aborted while anybody waits for them.
        let Some((parcel, verdict)) = ended else { return };
        let (key, stopped) = (key(&parcel), verdict == Verdict::Stopped);
        self.held -= 1;
        // Said first: a parked event takes those of its batch and key with it.
        parcel.tell(verdict);
        if stopped {
            self.held -= self.keys.forget(&key).len();
        } else if let Some(next) = self.keys.done(&key) {
            self.handle(next);
        }
    }
}

fn key(parcel: &Parcel) -> Key {
    (parcel.event.database().to_owned(), parcel.event.key().to_owned())
}
