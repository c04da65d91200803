//! Who a session belongs to: sign-in, sign-out, the user's other sessions.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use scalekit_core::{Error, ErrorKind, Principal, Result};
use sha2::{Digest, Sha256};

use crate::{
    Content, ReadSession, Session,
    address::UserPlace,
    cookie::random,
    metrics::count,
    store::{Ending, Listed, Record, Removed, Rules, SessionKey},
    visit::{Asked, Fate, Merge},
};

/// Bytes of a user's and of a tenant's id.
const MAX_ID: usize = 256;
/// Characters of a device's name that are kept.
const MAX_DEVICE: usize = 128;

/// One of a user's sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sibling {
    /// Names it to people; opens nothing.
    pub id: String,
    /// What the user signed in from.
    pub device: String,
    /// When the user signed in.
    pub created: SystemTime,
    /// Whether it is the session of this request.
    pub current: bool,
}

/// Whether [`Session::revoke_all`] ends the request's own session too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current {
    /// It goes on.
    Kept,
    /// It ends, and the response takes the cookie away.
    Included,
}

/// How a user signs in, beyond who it is; see [`Session::sign_in_with`].
///
/// ```
/// use std::{collections::BTreeMap, time::Duration};
/// use scalekit_core::{Principal, Result};
/// use scalekit_session::{CounterMap, Session, SignIn};
///
/// const CART: CounterMap = CounterMap::new("cart").dropping_empty();
///
/// /// An administrator's session is short; the guest's basket is added to the one that the user has left.
/// async fn sign_in(session: Session, left: BTreeMap<String, i64>) -> Result<()> {
///     let ada = Principal::user("ada").tenant("acme");
///     let sign_in = SignIn::new(&ada)
///         .device("Firefox on Linux")
///         .idle(Duration::from_secs(5 * 60))
///         .absolute(Duration::from_secs(60 * 60))
///         .merging(move |guest| {
///             let basket = guest.counter_map(CART)?;
///             left.iter().try_for_each(|(article, count)| {
///                 guest.set_member(CART, article, count + basket.get(article).unwrap_or(&0))
///             })
///         });
///     session.sign_in_with(sign_in).await
/// }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SignIn {
    user: Principal,
    device: String,
    idle: Option<Duration>,
    absolute: Option<Duration>,
    merge: Option<Merge>,
}

impl SignIn {
    /// This user, with the deadlines of all sessions; everything that a guest's session held is kept.
    pub fn new(user: &Principal) -> Self {
        Self { user: user.clone(), device: String::new(), idle: None, absolute: None, merge: None }
    }

    /// What the user sees in the list of sessions, cut to 128 characters.
    pub fn device(mut self, device: &str) -> Self {
        self.device = device.chars().filter(|char| !char.is_control()).take(MAX_DEVICE).collect();
        self
    }

    /// How long this session lives without a request.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// How long this session lives at most.
    pub fn absolute(mut self, absolute: Duration) -> Self {
        self.absolute = Some(absolute);
        self
    }

    /// Decides what becomes the user's of what the session held before. It runs in the commit, and again if that
    /// changes meanwhile; what it returns as an error is the commit's. What another user's session held never gets here.
    pub fn merging(mut self, merge: impl Fn(&mut Content) -> Result<()> + Send + Sync + 'static) -> Self {
        self.merge = Some(Arc::new(merge));
        self
    }

    fn check(&self, rules: &Rules) -> Result<()> {
        let fits = |id: &str| (1..=MAX_ID).contains(&id.len());
        if self.user.is_guest() || !fits(self.user.id()) || !fits(self.user.tenant_id()) {
            return Err(Error::new(ErrorKind::Invalid, "user and tenant are 1 to 256 bytes, and no guest"));
        }
        let lifetime = Rules {
            idle: self.idle.unwrap_or(rules.idle),
            absolute: self.absolute.unwrap_or(rules.absolute),
            ..rules.clone()
        };
        lifetime.check()
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { idle, absolute, .. } = self;
        f.debug_struct("SignIn").field("idle", idle).field("absolute", absolute).finish_non_exhaustive()
    }
}

impl Session {
    /// Signs a user in, in the commit: the session gets a new secret. `device` is what the user sees in the list of
    /// sessions.
    ///
    /// What a guest's session held is kept, as is what the same user's held; over another user's session the new one
    /// starts empty. The deadlines start anew.
    ///
    /// The old secret of a user's session is dead at once: who loses the answer signs in again. That of a guest still
    /// shows the guest's content, and never the user's, until the new one is first read or 30 s have passed; it changes
    /// nothing. If the store fails between the two, the end of the old one is tried again for half a minute; an old
    /// secret that was another user's lives on to its idle deadline only if this process ends meanwhile, too.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a guest or an id that is not 1 to 256 bytes; [`ErrorKind::Misuse`] on a
    /// route whose changes are recorded in a transaction; the store's failure.
    pub async fn sign_in(&self, user: &Principal, device: &str) -> Result<()> {
        self.sign_in_with(SignIn::new(user).device(device)).await
    }

    /// Signs a user in with deadlines of its own, or merges what the guest's session held.
    ///
    /// # Errors
    /// As [`sign_in`](Self::sign_in), and [`ErrorKind::Config`] for deadlines out of range.
    pub async fn sign_in_with(&self, sign_in: SignIn) -> Result<()> {
        self.refuse_if_enlisted("a sign-in")?;
        sign_in.check(&self.visit().shared.rules)?;
        let SignIn { user, device, idle, absolute, merge } = sign_in;
        let record = self.visit().load().await?;
        let owner = record.as_ref().map_or(Ok(None), |record| record.user())?;
        // As it will be read back: the tenant is always named.
        let user = Principal::user(user.id()).tenant(user.tenant_id());
        let other = owner.is_some_and(|owner| owner != user);
        let mut state = self.visit().lock();
        let fresh = other || matches!(state.fate, Fate::SignOut);
        let instead = matches!(&state.fate, Fate::SignIn(asked) if asked.user != user);
        if other || instead {
            state.pending.clear();
        }
        let kept = record.as_ref().filter(|_| !fresh).and_then(|record| record.lineage());
        let lineage = kept.map_or_else(new_lineage, |lineage| Ok(lineage.to_owned()))?;
        state.fate = Fate::SignIn(Box::new(Asked {
            user,
            device,
            lineage,
            idle,
            absolute,
            merge,
            fresh,
            ticket: None,
        }));
        Ok(())
    }

    /// Gives the session a new secret in the commit, after a change of password or role; all else stays, deadlines
    /// too. The old secret is dead at once: who loses the answer signs in again.
    ///
    /// # Errors
    /// [`ErrorKind::Misuse`] on a route whose changes are recorded in a transaction.
    pub fn renew(&self) -> Result<()> {
        self.refuse_if_enlisted("a renewal")?;
        let mut state = self.visit().lock();
        if matches!(state.fate, Fate::Keep) {
            state.fate = Fate::Renew;
        }
        Ok(())
    }

    /// Signs out, in the commit: the session is removed, and the response takes the cookie away. What is written afterwards,
    /// such as a notice to be shown, is kept in a new guest's session.
    ///
    /// If the session had ended already, the cookie stays, and opens nothing: another tab may have signed in since.
    ///
    /// # Errors
    /// [`ErrorKind::Misuse`] on a route whose changes are recorded in a transaction. If the store fails in
    /// the commit, the response is 503 and the cookie stays.
    pub async fn sign_out(&self) -> Result<()> {
        self.refuse_if_enlisted("a sign-out")?;
        self.visit().settled().await;
        let mut state = self.visit().lock();
        state.pending.clear();
        state.fate = Fate::SignOut;
        Ok(())
    }

    /// Ends one of the user's sessions at once, by its id in [`siblings`](ReadSession::siblings); whether there was one.
    ///
    /// **Round trips**: those of `siblings`, and one.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn revoke(&self, id: &str) -> Result<bool> {
        let mine = self.own_handle().await?;
        for UserPlace { index, prefix, .. } in self.places().await? {
            let found = self.listed(&index, &prefix).await?.into_iter().find(|one| handle(one) == id);
            let Some(Listed { member, .. }) = found else { continue };
            let key = SessionKey { prefix, member };
            let ended = self.visit().end_session(&key, None, Ending::Mark).await? == Removed::Done;
            if mine.as_deref() == Some(id) {
                self.visit().lock().end();
            }
            return Ok(ended);
        }
        Ok(false)
    }

    /// Ends the user's sessions at once, everywhere; returns how many. Nothing happens without a user. After a sign-in in the
    /// same request they are that user's, and so [`Current::Kept`] keeps the session that it begins.
    ///
    /// A sign-in at the same time is either ended too or begins wholly after.
    ///
    /// **Round trips**: the load, one for each key of the ring, and one for the request's own session.
    ///
    /// # Errors
    /// The store's failure; some of the sessions may have ended.
    pub async fn revoke_all(&self, current: Current) -> Result<u64> {
        let shared = &self.visit().shared;
        let places = self.places().await?;
        let mine = self.visit().key()?.filter(|_| !places.is_empty());
        let mut ended = 0;
        for place in &places {
            let ours = mine.as_ref().filter(|key| key.prefix == place.prefix && current == Current::Kept);
            let except = ours.map(|key| key.member.as_str());
            let meter = self.visit().meter()?;
            let revoked = shared.store.revoke(&place.index, &place.prefix, except, meter.left).await;
            ended += self.visit().counted(revoked)?;
        }
        if current == Current::Included && !places.is_empty() {
            if let Some(key) = mine {
                // Also where the index does not know it.
                let removed = self.visit().end_session(&key, None, Ending::Mark).await?;
                ended += u64::from(removed == Removed::Done);
            }
            self.visit().lock().end();
        }
        if ended > 0 {
            count(&shared.counters.commits);
        }
        Ok(ended)
    }
}

impl ReadSession {
    /// The user's live sessions, newest first, at most as many as [one user may
    /// have](crate::SessionsBuilder::sessions_per_user) for each key of the ring; empty if nobody is signed in. After a
    /// sign-in in the same request they are that user's.
    ///
    /// **Round trips**: the load, and one for each key of the ring.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn siblings(&self) -> Result<Vec<Sibling>> {
        let mine = self.own_handle().await?;
        let mut all = Vec::new();
        for UserPlace { index, prefix, .. } in self.places().await? {
            all.extend(self.listed(&index, &prefix).await?.into_iter().map(|one| {
                let id = handle(&one);
                Sibling {
                    current: mine.as_ref() == Some(&id),
                    id,
                    device: one.device,
                    created: UNIX_EPOCH + Duration::from_millis(one.created_ms),
                }
            }));
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.created));
        Ok(all)
    }

    /// Whether the user has signed in within this time: before it may change a password, or pay more than usual.
    ///
    /// The time of the sign-in is the store's, now is this process's: it is off by what the clocks differ.
    ///
    /// # Errors
    /// As [`get`](ReadSession::get).
    pub async fn reauthenticated_within(&self, age: Duration) -> Result<bool> {
        self.0.settled().await;
        match &self.0.lock().fate {
            Fate::SignIn(_) => return Ok(true),
            Fate::SignOut => return Ok(false),
            Fate::Keep | Fate::Renew => {}
        }
        let Some(record) = self.0.load().await? else { return Ok(false) };
        let since = self.0.shared.clock.now_ms().saturating_sub(record.created_ms());
        Ok(record.user()?.is_some() && u128::from(since) <= age.as_millis())
    }

    /// Where the user may have sessions: the one who signs in, or else whose session is stored.
    async fn places(&self) -> Result<Vec<UserPlace>> {
        let record = self.0.load().await?;
        let user = match &self.0.lock().fate {
            Fate::SignIn(asked) => Some(asked.user.clone()),
            _ => record.as_ref().map_or(Ok(None), |record| record.user())?,
        };
        let shared = &self.0.shared;
        user.map_or(Ok(Vec::new()), |user| UserPlace::all(&shared.namespace, &shared.ring, &user))
    }

    async fn listed(&self, index: &str, prefix: &str) -> Result<Vec<Listed>> {
        let shared = &self.0.shared;
        let meter = self.0.meter()?;
        self.0.counted(shared.store.list(index, prefix, &shared.rules, meter.left).await)
    }

    /// The id of the request's own session.
    async fn own_handle(&self) -> Result<Option<String>> {
        Ok(self.0.load().await?.and_then(|record| own_handle(&record)))
    }
}

/// The id that a session has among its user's.
pub(crate) fn own_handle(record: &Record) -> Option<String> {
    Some(handle_of(record.lineage()?, record.created_ms()))
}

/// The id of a session that may be shown: the same whatever secrets it gets, and it opens nothing and finds nothing.
fn handle(one: &Listed) -> String {
    handle_of(&one.lineage, one.created_ms)
}

fn handle_of(lineage: &str, created_ms: u64) -> String {
    let digest = Sha256::digest(format!("session handle:{lineage}:{created_ms}"));
    URL_SAFE_NO_PAD.encode(&digest[..12])
}

pub(crate) fn new_lineage() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<16>()?))
}
