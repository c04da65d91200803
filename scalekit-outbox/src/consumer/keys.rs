//! Turns per key: who comes second waits for the first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// The queues of all keys that have events in work.
#[derive(Debug, Default)]
pub(crate) struct Keys(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entered: u64,
    last: HashMap<(String, String), Last>,
}

/// The last one in a key's queue.
#[derive(Debug)]
struct Last {
    entered: u64,
    ended: oneshot::Receiver<Ended>,
}

/// How the one before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The next may go on.
    Done,
    /// The key is set aside, and with it all who wait.
    Parked,
}

/// A place in a key's queue. Dropping it without [`leave`](Self::leave) stops those behind it.
#[derive(Debug)]
pub(crate) struct Turn {
    keys: Arc<Keys>,
    key: (String, String),
    entered: u64,
    before: Option<oneshot::Receiver<Ended>>,
    tell: Option<oneshot::Sender<Ended>>,
}

impl Keys {
    /// Queues up behind all who entered with this key before; order is that of the calls.
    pub(crate) fn enter(self: &Arc<Self>, database: &str, key: &str) -> Turn {
        let key = (database.to_owned(), key.to_owned());
        let (tell, ended) = oneshot::channel();
        let mut state = self.lock();
        state.entered += 1;
        let entered = state.entered;
        let before = state.last.insert(key.clone(), Last { entered, ended }).map(|last| last.ended);
        drop(state);
        Turn { keys: Arc::clone(self), key, entered, before, tell: Some(tell) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits for the one before; `None` if that one was given up.
    pub(crate) async fn come(&mut self) -> Option<Ended> {
        match &mut self.before {
            None => Some(Ended::Done),
            Some(before) => before.await.ok(),
        }
    }

    /// Lets the next one have its turn.
    pub(crate) fn leave(mut self, ended: Ended) {
        // Out of the map first: who enters from here on finds the key free, which it is.
        self.forget();
        if let Some(tell) = self.tell.take() {
            let _nobody_behind = tell.send(ended);
        }
    }

    fn forget(&self) {
        let mut state = self.keys.lock();
        if state.last.get(&self.key).is_some_and(|last| last.entered == self.entered) {
            state.last.remove(&self.key);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_other_keys_do_not() {
        let keys = Arc::new(Keys::default());
        let (mut first, mut second, mut other) =
            (keys.enter("d", "a"), keys.enter("d", "a"), keys.enter("d", "b"));
        assert_eq!(other.come().await, Some(Ended::Done));
        assert_eq!(first.come().await, Some(Ended::Done));
        let wait = tokio::time::timeout(std::time::Duration::from_millis(20), second.come());
        assert!(wait.await.is_err());
        first.leave(Ended::Parked);
        assert_eq!(second.come().await, Some(Ended::Parked));
        drop((second, other));
        assert!(keys.lock().last.is_empty());
    }

    #[tokio::test]
    async fn those_behind_one_that_was_given_up_stop() {
        let keys = Arc::new(Keys::default());
        let (first, mut second) = (keys.enter("d", "a"), keys.enter("d", "a"));
        drop(first);
        assert_eq!(second.come().await, None);
    }
}
