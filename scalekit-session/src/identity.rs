//! Who a session belongs to: sign-in, sign-out, the user's other sessions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use scalekit_core::{Error, ErrorKind, Principal, Result};

use crate::{
    Session,
    address::{UserPlace, handle},
    cookie::random,
    metrics::count,
    visit::{Fate, SignIn},
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

impl Session {
    /// Signs a user in, in the commit: the session gets a new secret, and the old one is dead at once. If the store
    /// fails between the two, the removal is tried again for half a minute; an old secret that was another user's lives
    /// on to its idle deadline only if this process ends meanwhile, too.
    ///
    /// What a guest's session held is kept, as is what the same user's held; over another user's session the
    /// new one starts empty. The deadlines start anew. `device` is what the user sees in the list of
    /// sessions, cut to 128 characters.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a guest or an id that is not 1 to 256 bytes; [`ErrorKind::Misuse`] on a
    /// route whose changes are recorded in a transaction; the store's failure.
    pub async fn sign_in(&self, user: &Principal, device: &str) -> Result<()> {
        self.refuse_if_enlisted("a sign-in")?;
        let fits = |id: &str| (1..=MAX_ID).contains(&id.len());
        if user.is_guest() || !fits(user.id()) || !fits(user.tenant_id()) {
            return Err(Error::new(ErrorKind::Invalid, "user and tenant are 1 to 256 bytes, and no guest"));
        }
        let record = self.0.load().await?;
        let owner = record.as_ref().map_or(Ok(None), |record| record.user())?;
        // As it will be read back: the tenant is always named.
        let user = Principal::user(user.id()).tenant(user.tenant_id());
        let other = owner.is_some_and(|owner| owner != user);
        let mut state = self.0.lock();
        let fresh = other || matches!(state.fate, Fate::SignOut | Fate::Revoked);
        if fresh {
            state.pending.clear();
        }
        let kept = record.as_ref().filter(|_| !fresh).and_then(|record| record.lineage());
        let lineage = kept.map_or_else(new_lineage, |lineage| Ok(lineage.to_owned()))?;
        let device = device.chars().filter(|char| !char.is_control()).take(MAX_DEVICE).collect();
        state.fate = Fate::SignIn(Box::new(SignIn { user, device, lineage, fresh }));
        Ok(())
    }

    /// Signs out, in the commit: the session is removed, and the response takes the cookie away.
    ///
    /// # Errors
    /// [`ErrorKind::Misuse`] on a route whose changes are recorded in a transaction. If the store fails in
    /// the commit, the response is 503 and the cookie stays.
    pub async fn sign_out(&self) -> Result<()> {
        self.refuse_if_enlisted("a sign-out")?;
        let mut state = self.0.lock();
        state.pending.clear();
        if !matches!(state.fate, Fate::Revoked) {
            state.fate = Fate::SignOut;
        }
        Ok(())
    }

    /// The user's live sessions, newest first, at most 1,000; empty if nobody is signed in.
    ///
    /// **Round trips**: the load, and one for each key of the ring.
    ///
    /// # Errors
    /// The store's failure.
    pub async fn siblings(&self) -> Result<Vec<Sibling>> {
        let shared = &self.0.shared;
        let mine = self.0.key()?;
        let mut all = Vec::new();
        for place in self.places().await? {
            let meter = self.0.meter()?;
            let found = shared.store.list(&place.index, &place.prefix, &shared.rules, meter.left).await;
            all.extend(self.0.watch(found)?.into_iter().map(|one| {
                let is_mine =
                    |key: &crate::store::SessionKey| key.prefix == place.prefix && key.member == one.member;
                Sibling {
                    current: mine.as_ref().is_some_and(is_mine),
                    id: handle(&one.member),
                    device: one.device,
                    created: UNIX_EPOCH + Duration::from_millis(one.created_ms),
                }
            }));
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.created));
        Ok(all)
    }

    /// Ends the user's sessions at once, everywhere; returns how many. Nothing happens without a user.
    ///
    /// A sign-in at the same time is either ended too or begins wholly after.
    ///
    /// **Round trips**: the load, one for each key of the ring, and one for the request's own session.
    ///
    /// # Errors
    /// The store's failure; some of the sessions may have ended.
    pub async fn revoke_all(&self, current: Current) -> Result<u64> {
        let shared = &self.0.shared;
        let places = self.places().await?;
        let mine = self.0.key()?.filter(|_| !places.is_empty());
        let mut ended = 0;
        for place in &places {
            let ours = mine.as_ref().filter(|key| key.prefix == place.prefix && current == Current::Kept);
            let except = ours.map(|key| key.member.as_str());
            let meter = self.0.meter()?;
            let revoked = shared.store.revoke(&place.index, &place.prefix, except, meter.left).await;
            ended += self.0.watch(revoked)?;
        }
        if let (Some(key), Current::Included) = (mine, current) {
            // Also where the index does not know it.
            let meter = self.0.meter()?;
            let removed = self.0.watch(shared.store.remove(&key, None, false, meter.left).await)?;
            ended += u64::from(removed == crate::store::Removed::Done);
            let mut state = self.0.lock();
            state.pending.clear();
            state.fate = Fate::Revoked;
        }
        if ended > 0 {
            count(&shared.counters.commits);
        }
        Ok(ended)
    }

    /// Where the stored session's user may have sessions.
    async fn places(&self) -> Result<Vec<UserPlace>> {
        let owner = match self.0.load().await? {
            Some(record) => record.user()?,
            None => None,
        };
        let shared = &self.0.shared;
        owner.map_or(Ok(Vec::new()), |user| UserPlace::all(&shared.namespace, &shared.ring, &user))
    }
}

pub(crate) fn new_lineage() -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<16>()?))
}
