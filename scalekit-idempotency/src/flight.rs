//! Duplicates in one process share one execution: one runs, the others wait for its record.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use scalekit_core::db::ClaimId;
use tokio::sync::watch;

use crate::{fingerprint::Fingerprint, state::Record};

/// The keys that this process works on now.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<ClaimId, Flight>>);

#[derive(Clone)]
struct Flight {
    request: Vec<u8>,
    outcome: watch::Receiver<Option<Landed>>,
}

/// How a flight ended.
#[derive(Clone)]
pub(crate) enum Landed {
    /// Committed: the record answers every duplicate.
    Finished(Arc<Record>),
    /// Rolled back or given up: the next one may try.
    Free,
}

/// What a request is told when it joins.
pub(crate) enum Joined {
    /// It is the first: it works, and the others wait for it.
    Lead(Lead),
    /// Another one works on an equal request.
    Follow(Follow),
    /// Another one works on a different request under this key.
    Mismatch,
}

/// The right to work on a key; dropping it frees the key.
pub(crate) struct Lead {
    flights: Arc<Flights>,
    id: ClaimId,
    outcome: watch::Sender<Option<Landed>>,
}

/// A wait for another request's outcome.
pub(crate) struct Follow(watch::Receiver<Option<Landed>>);

impl Flights {
    /// Joins the flight of this key. `sealed` is this request's fingerprint under a salt of its own.
    pub(crate) fn join(self: &Arc<Self>, id: ClaimId, request: &Fingerprint, sealed: &[u8]) -> Joined {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&id) {
            return match request.matches(&flight.request) {
                true => Joined::Follow(Follow(flight.outcome.clone())),
                false => Joined::Mismatch,
            };
        }
        let (outcome, receiver) = watch::channel(None);
        flights.insert(id, Flight { request: sealed.to_vec(), outcome: receiver });
        Joined::Lead(Lead { flights: Arc::clone(self), id, outcome })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimId, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// Hands the record to everybody who waits.
    pub(crate) fn land(self, record: Arc<Record>) {
        self.outcome.send_replace(Some(Landed::Finished(record)));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Out of the map first: whoever wakes must find the key free or led by someone else.
        self.flights.lock().remove(&self.id);
        self.outcome.send_if_modified(|outcome| {
            let lost = outcome.is_none();
            if lost {
                *outcome = Some(Landed::Free);
            }
            lost
        });
    }
}

impl Follow {
    /// Waits until the leader has landed.
    pub(crate) async fn landed(mut self) -> Landed {
        let landed = self.0.wait_for(Option::is_some).await;
        landed.ok().and_then(|outcome| outcome.clone()).unwrap_or(Landed::Free)
    }
}
