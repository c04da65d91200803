//! What becomes of a session while a stream or a socket is open: heard from any node, within moments.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use scalekit_core::{Error, ErrorKind, Result};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    ReadSession,
    store::{SessionKey, Told},
    visit::Shared,
};

/// How often the sessions that are watched are looked at, beside what is heard of them: one may have expired.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon again, where the store did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Sessions that are looked at at a time.
const LOOKS: usize = 64;
/// Sessions that one process watches at a time.
const MOST: usize = 100_000;

/// Tells when a session ends; see [`ReadSession::watch`]. A clone tells the same.
///
/// ```
/// use std::time::Duration;
/// use scalekit_core::Result;
/// use scalekit_session::ReadSession;
///
/// # async fn send_prices() {}
/// /// What runs beside the response, be it a WebSocket or a stream of events.
/// async fn prices(session: ReadSession) -> Result<()> {
///     let mut watch = session.watch().await?;
///     tokio::spawn(async move {
///         tokio::select! {
///             () = watch.ended() => {} // signed out, revoked or expired: close
///             () = send_prices() => {}
///         }
///     });
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Watch(watch::Receiver<bool>);

impl Watch {
    /// Waits for the end of the session: sign-out, revocation, another sign-in over it, expiry.
    pub async fn ended(&mut self) {
        // Without a sender there is nobody who could tell: better to close too much.
        let _ = self.0.wait_for(|ended| *ended).await;
    }

    /// Whether it is known to have ended.
    pub fn has_ended(&self) -> bool {
        *self.0.borrow()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.has_ended()).finish()
    }
}

impl ReadSession {
    /// Watches the session from now on, for what outlives the request: a WebSocket, a stream of events.
    ///
    /// Guarantee: it is told within moments of a sign-out, a revocation or another sign-in, on whichever node; a rotation
    /// of the secret is no end. While the store is away nothing is told, and what happened is found when it is back.
    /// An expired session is noticed within 10 s; so is every end where the store's user may not publish and subscribe to
    /// `<namespace>:endings` (the ACL rule `&shop:endings`). Non-guarantee: an open socket is no use of the session; it expires
    /// where nothing else uses it.
    ///
    /// **Round trips**: the load, and 1. All watches of a process share one connection that listens, and look at their
    /// sessions every 10 s.
    ///
    /// # Errors
    /// The store's failure; [`ErrorKind::TooLarge`] above 100,000 watches.
    pub async fn watch(&self) -> Result<Watch> {
        let shared = &self.visit().shared;
        let open = self.visit().load().await?.is_some();
        let Some(key) = self.visit().key()?.filter(|_| open) else {
            return Ok(Watch(watch::channel(true).1));
        };
        let receiver = shared.watchers.add(&key, shared)?;
        // What happened before it was registered was told to nobody.
        let meter = self.visit().meter()?;
        match self.visit().counted(shared.store.peek(&key, meter.left).await)? {
            Some(now) if now == key => {}
            Some(now) => shared.watchers.move_to(&key.full(), &now.full()),
            None => shared.watchers.end(&key.full()),
        }
        Ok(Watch(receiver))
    }
}

/// The watches of a process, by the keys of their sessions.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<State>);

#[derive(Default)]
struct State {
    by_key: HashMap<String, watch::Sender<bool>>,
    /// Whether somebody listens for all of them.
    listening: bool,
}

impl Watchers {
    fn add(&self, key: &SessionKey, shared: &Arc<Shared>) -> Result<watch::Receiver<bool>> {
        let mut state = self.lock();
        if state.by_key.len() >= MOST {
            return Err(Error::new(ErrorKind::TooLarge, "this process watches 100,000 sessions already"));
        }
        let sender = state.by_key.entry(key.full()).or_insert_with(|| watch::channel(false).0);
        let receiver = sender.subscribe();
        if !std::mem::replace(&mut state.listening, true) {
            tokio::spawn(listen(Arc::downgrade(shared)));
        }
        Ok(receiver)
    }

    fn end(&self, key: &str) {
        if let Some(sender) = self.lock().by_key.remove(key) {
            sender.send_replace(true);
        }
    }

    fn move_to(&self, from: &str, to: &str) {
        let mut state = self.lock();
        let Some(moved) = state.by_key.remove(from) else { return };
        match state.by_key.entry(to.to_owned()) {
            std::collections::hash_map::Entry::Vacant(vacant) => drop(vacant.insert(moved)),
            // Watched by both keys: those who know it by the former are told by whoever tells the others.
            std::collections::hash_map::Entry::Occupied(known) => {
                let (mut ended, moved) = (known.get().subscribe(), moved);
                tokio::spawn(async move {
                    let _ = ended.wait_for(|ended| *ended).await;
                    moved.send_replace(true);
                });
            }
        }
    }

    /// The sessions to look at; those that nobody watches any more are forgotten. None if there is no other: whoever
    /// listens then stops.
    fn watched(&self) -> Option<Vec<String>> {
        let mut state = self.lock();
        state.by_key.retain(|_, sender| sender.receiver_count() > 0);
        state.listening = !state.by_key.is_empty();
        state.listening.then(|| state.by_key.keys().cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears for all watches, until there is none. Looks go on beside what is heard, so that an end is told at once however many
/// sessions there are to look at.
async fn listen(shared: Weak<Shared>) {
    let Some(mut tidings) = shared.upgrade().map(|shared| shared.store.tidings(&shared.namespace)) else {
        return;
    };
    let (mut looking, mut next_look) = (JoinSet::new(), Instant::now() + LOOK_EVERY);
    loop {
        let event = tokio::select! {
            told = tidings.next() => Event::Told(told),
            Some(looked) = looking.join_next() => Event::Looked(looked.unwrap_or(Seen::Part)),
            () = sleep_until(next_look), if looking.is_empty() => Event::Look,
        };
        let Some(shared) = shared.upgrade() else { return };
        match event {
            Event::Told(Told::Ended(key)) => shared.watchers.end(&key),
            Event::Told(Told::Moved(from, to)) => shared.watchers.move_to(&from, &to),
            Event::Told(Told::Gap) => next_look = Instant::now(),
            Event::Looked(Seen::All) => {}
            Event::Looked(Seen::Part) => next_look = next_look.min(Instant::now() + LOOK_AGAIN),
            Event::Look => {
                let Some(watched) = shared.watchers.watched() else { return };
                next_look = Instant::now() + LOOK_EVERY;
                looking.spawn(look_at(shared, watched));
            }
        }
    }
}

enum Event {
    Told(Told),
    Looked(Seen),
    Look,
}

/// How many of the watched sessions the store has told of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    All,
    Part,
}

/// Looks at sessions, a few at a time.
async fn look_at(shared: Arc<Shared>, keys: Vec<String>) -> Seen {
    let (mut looks, mut seen) = (JoinSet::new(), Seen::All);
    let mut keys = keys.into_iter();
    loop {
        while looks.len() < LOOKS
            && let Some(key) = keys.next()
        {
            looks.spawn(look(shared.clone(), key));
        }
        match looks.join_next().await {
            Some(Ok(Seen::All)) => {}
            Some(_) => seen = Seen::Part,
            None => return seen,
        }
    }
}

async fn look(shared: Arc<Shared>, key: String) -> Seen {
    let Some(at) = SessionKey::of(&key) else { return Seen::All };
    match shared.store.peek(&at, shared.request_budget).await {
        Ok(Some(now)) if now == at => {}
        Ok(Some(now)) => shared.watchers.move_to(&key, &now.full()),
        Ok(None) => shared.watchers.end(&key),
        Err(error) => {
            tracing::debug!("a watched session was not looked at: {error}");
            return Seen::Part;
        }
    }
    Seen::All
}
