//! A handler that remembers, and fails as it is told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use async_trait::async_trait;
use scalekit_core::{Error, ErrorKind, Result};
use scalekit_outbox::{Delivered, Handler, Outcome};
use tokio::sync::Notify;

use super::SOON;

/// What to do about an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Fail that often, then succeed.
    Fail(u32),
    /// Fail for good.
    Break,
    /// Panic once.
    Panic,
    /// Ask for it to be parked, as long as this stands.
    Park { retry: bool },
}

/// Remembers what it has dealt with.
#[derive(Default)]
pub(crate) struct Diary {
    acts: Mutex<HashMap<(String, u64), Act>>,
    done: Mutex<Vec<(String, u64)>>,
    tried: Mutex<HashMap<(String, u64), u32>>,
    changed: Notify,
}

impl Diary {
    pub(crate) fn on(&self, key: &str, number: u64, act: Act) {
        self.acts.lock().unwrap().insert((key.to_owned(), number), act);
    }

    pub(crate) fn forgive(&self) {
        self.acts.lock().unwrap().clear();
    }

    pub(crate) fn of(&self, key: &str) -> Vec<u64> {
        self.all().remove(key).unwrap_or_default()
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Vec<u64>> {
        let mut out = BTreeMap::<_, Vec<u64>>::new();
        for (key, number) in self.done.lock().unwrap().iter() {
            out.entry(key.clone()).or_default().push(*number);
        }
        out
    }

    pub(crate) fn tried(&self, key: &str, number: u64) -> u32 {
        self.tried.lock().unwrap().get(&(key.to_owned(), number)).copied().unwrap_or_default()
    }

    pub(crate) async fn until(&self, what: &str, mut enough: impl FnMut(&Self) -> bool) {
        let waited = tokio::time::timeout(SOON, async {
            loop {
                let changed = self.changed.notified();
                if enough(self) {
                    return;
                }
                changed.await;
            }
        });
        assert!(waited.await.is_ok(), "waited in vain until {what}; done: {:?}", self.all());
    }
}

#[async_trait]
impl Handler for Diary {
    async fn handle(&self, event: &Delivered) -> Result<Outcome> {
        let number: u64 = event.json()?;
        let what = (event.key().to_owned(), number);
        let tried = {
            let mut tried = self.tried.lock().unwrap();
            let tried = tried.entry(what.clone()).or_default();
            *tried += 1;
            *tried
        };
        self.changed.notify_waiters();
        // Gives others a chance to come in between.
        tokio::task::yield_now().await;
        let act = self.acts.lock().unwrap().get(&what).copied();
        match act {
            Some(Act::Fail(times)) if tried <= times => {
                return Err(Error::new(ErrorKind::Unavailable, "the payment service is down"));
            }
            Some(Act::Break) => return Err(Error::new(ErrorKind::Corrupt, "broken for good")),
            Some(Act::Panic) if tried == 1 => panic!("as asked"),
            Some(Act::Park { retry }) => return Ok(Outcome::Park { reason: "not now".into(), retry }),
            _ => {}
        }
        self.done.lock().unwrap().push(what);
        self.changed.notify_waiters();
        Ok(Outcome::Done)
    }
}
