//! What one request knows of its session, and what it has asked for.

use std::{sync::Arc, time::Duration};

use scalekit_core::{Principal, Result};
use tokio::time::Instant;

use super::Shared;
use crate::{
    commit::Hand,
    content::Content,
    cookie::{Carried, Ticket},
    pending::Pending,
    store::{Record, SessionKey},
};

/// How long a ticket may be handed to a client that came with a former one: after that, the client of another request
/// may have it, or one that followed.
const REISSUED_WITHIN: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) carried: Carried,
    /// Where the session is, if not where that says.
    pub(crate) at: Option<SessionKey>,
    /// The request came by a former key.
    pub(crate) former: bool,
    /// The ticket that followed on the one that the request came with.
    pub(crate) successor: Option<Ticket>,
    /// When the client was found not to have it.
    pub(crate) lacking_since: Option<Instant>,
    /// What commits have left to hand out.
    pub(crate) hand: Hand,
    /// The response is under way: its cookies are decided.
    pub(crate) answered: bool,
    pub(crate) known: Known,
    /// Raised when what a load that is under way brings may be old.
    pub(crate) generation: u64,
    /// The session was found: what another request rotates meanwhile, this one goes on with.
    pub(crate) admitted: bool,
    /// Somebody has asked for what is stored.
    pub(crate) read: bool,
    pub(crate) pending: Pending,
    pub(crate) fate: Fate,
    /// A commit has taken what was asked for.
    pub(crate) under_way: bool,
    /// Commits that were dropped because the session had ended.
    pub(crate) dropped: u32,
    /// A transaction records the changes: the layer commits nothing.
    pub(crate) enlisted: bool,
    pub(crate) spent: Duration,
}

#[derive(Clone, Default)]
pub(crate) enum Known {
    #[default]
    Not,
    /// There was none, or it expired.
    Missing,
    /// It was ended while this request was under way.
    Ended,
    Found(Arc<Record>),
}

/// What is to become of the session as a whole.
#[derive(Clone, Default)]
pub(crate) enum Fate {
    #[default]
    Keep,
    SignIn(Box<Asked>),
    /// It goes on under a new secret.
    Renew,
    /// It ends; what is asked for afterwards is for one that follows.
    SignOut,
}

/// What a sign-in asks for.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) user: Principal,
    pub(crate) device: String,
    pub(crate) lineage: String,
    pub(crate) idle: Option<Duration>,
    pub(crate) absolute: Option<Duration>,
    pub(crate) merge: Option<Merge>,
    /// The session before belongs to somebody else: nothing of it is kept.
    pub(crate) fresh: bool,
    /// The new session's, from the first try on: one that was not answered may have created it.
    pub(crate) ticket: Option<Ticket>,
}

/// Decides what is kept of the session before; runs again if that changes meanwhile.
pub(crate) type Merge = Arc<dyn Fn(&mut Content) -> Result<()> + Send + Sync>;

impl State {
    /// The ticket that the request came with: its cookies are looked at when it is first asked for.
    pub(crate) fn ticket(&mut self, shared: &Shared) -> Option<&Ticket> {
        self.carried.read(shared)
    }

    /// The newest ticket of the session that is known.
    pub(crate) fn newest(&mut self, shared: &Shared) -> Option<&Ticket> {
        match &self.successor {
            Some(_) => self.successor.as_ref(),
            None => self.carried.read(shared),
        }
    }

    /// Whether the request came with a cookie of our name, whatever was in it.
    pub(crate) fn had_cookie(&mut self, shared: &Shared) -> bool {
        self.carried.read(shared);
        self.carried.had_cookie()
    }

    /// The ticket that the client is to get because it came with a former one.
    pub(crate) fn reissued(&self) -> Option<&Ticket> {
        let in_time = self.lacking_since.is_some_and(|since| since.elapsed() <= REISSUED_WITHIN);
        self.successor.as_ref().filter(|_| in_time)
    }

    /// Whether there is anything to commit.
    pub(crate) fn has_work(&self) -> bool {
        !self.enlisted && (!matches!(self.fate, Fate::Keep) || !self.pending.is_empty())
    }

    /// After a sign-out, and for a user who takes over another's session, nothing of what is stored is theirs.
    pub(crate) fn starts_empty(&self) -> bool {
        match &self.fate {
            Fate::SignOut => true,
            Fate::SignIn(asked) => asked.fresh,
            Fate::Keep | Fate::Renew => false,
        }
    }

    /// What was read may not be so any more.
    pub(crate) fn forget(&mut self) {
        self.known = Known::Not;
        self.generation += 1;
    }

    /// The field is not there any more.
    pub(crate) fn forget_field(&mut self, field: &str) {
        if let Known::Found(record) = &mut self.known {
            Arc::make_mut(record).0.remove(field);
        }
    }

    /// The request goes on with another session, or with none, and so does the client.
    pub(crate) fn go_on_with(&mut self, hand: Hand) {
        self.forget();
        (self.at, self.former, self.successor, self.lacking_since) = (None, false, None, None);
        self.admitted = matches!(hand, Hand::Give(_));
        self.carried = match &hand {
            Hand::Give(ticket) => Carried::Ticket(ticket.clone()),
            Hand::Take | Hand::Nothing => Carried::Nothing,
        };
        self.hand = hand;
    }

    /// The session was ended at once: what was asked for before was for it.
    pub(crate) fn end(&mut self) {
        (self.pending, self.fate) = (Pending::default(), Fate::Keep);
        self.go_on_with(Hand::Take);
    }

    /// Takes back what a commit could not do, below what was asked for since.
    pub(crate) fn take_back(&mut self, fate: Fate, pending: Pending) {
        // Meanwhile the session was given up, and with it what was to be kept in it.
        if self.starts_empty() {
            return;
        }
        let newer = std::mem::take(&mut self.pending);
        self.pending = pending.then(newer);
        if matches!((&self.fate, &fate), (Fate::Keep, _) | (Fate::Renew, Fate::SignIn(_) | Fate::SignOut)) {
            self.fate = fate;
        }
    }
}
