//! A session as this process has read it last, for while the store does not answer.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use scalekit_core::{Principal, Result};
use tokio::time::Instant;

use crate::{Content, store::Record};

/// A copy of a session: what [`MaybeSession::Stale`](crate::MaybeSession::Stale) holds. It reads as a [`Content`] does, and
/// changes nothing.
///
/// Guarantee: no older than [`stale_for`](crate::SessionsBuilder::stale_for) says; what this process commits to a session, or
/// ends, it has no copy of. Non-guarantee: what other nodes have done since, and a revocation of all sessions, is not in
/// it. Show by it, and decide nothing by it.
///
/// **Round trips**: none.
///
/// ```
/// use scalekit_session::{CounterMap, MaybeSession};
///
/// const CART: CounterMap = CounterMap::new("cart");
///
/// async fn basket(session: MaybeSession) -> scalekit_core::Result<String> {
///     let (cart, when) = match &session {
///         MaybeSession::Available(session) => (session.counter_map(CART).await?, "now"),
///         MaybeSession::Stale(copy) => (copy.counter_map(CART)?, "a moment ago"),
///         MaybeSession::Unavailable(_) => return Ok("your basket is kept; come back in a minute".to_owned()),
///     };
///     Ok(format!("{} articles, {when}", cart.len()))
/// }
/// ```
#[derive(Clone)]
pub struct StaleSession {
    content: Arc<Content>,
    user: Option<Principal>,
    read: Instant,
}

impl StaleSession {
    /// Who was signed in.
    pub fn user(&self) -> Option<&Principal> {
        self.user.as_ref()
    }

    /// How long ago it was read.
    pub fn age(&self) -> Duration {
        self.read.elapsed()
    }

    #[cfg_attr(not(feature = "stale"), expect(dead_code, reason = "only copies are made of it"))]
    fn of(record: &Record) -> Result<Self> {
        let content = Arc::new(Content::of(record.0.clone()));
        Ok(Self { content, user: record.user()?, read: Instant::now() })
    }
}

impl Deref for StaleSession {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.content
    }
}

// Shows how old it is, not what it holds.
impl fmt::Debug for StaleSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaleSession").field("age", &self.age()).finish_non_exhaustive()
    }
}

#[cfg(feature = "stale")]
pub(crate) use self::copies::Copies;
#[cfg(not(feature = "stale"))]
pub(crate) use self::no_copies::Copies;

#[cfg(feature = "stale")]
mod copies {
    use super::{Duration, Record, StaleSession};
    use crate::store::SessionKey;

    /// Copies that are kept at a time; those that are used least go first.
    const MOST: u64 = 10_000;

    /// The sessions that this process has read last.
    #[derive(Default)]
    pub(crate) struct Copies(Option<(Duration, moka::sync::Cache<String, StaleSession>)>);

    impl Copies {
        pub(crate) fn kept_for(age: Duration) -> Self {
            Self(Some((age, moka::sync::Cache::builder().max_capacity(MOST).time_to_live(age).build())))
        }

        pub(crate) fn age(&self) -> Duration {
            self.0.as_ref().map(|(age, _)| *age).unwrap_or_default()
        }

        pub(crate) fn keep(&self, key: &SessionKey, record: &Record, max_bytes: usize) {
            if let Some((_, copies)) = &self.0
                && record.bytes() <= max_bytes
                && let Ok(copy) = StaleSession::of(record)
            {
                copies.insert(key.full(), copy);
            }
        }

        pub(crate) fn forget(&self, key: &SessionKey) {
            if let Some((_, copies)) = &self.0 {
                copies.invalidate(&key.full());
            }
        }

        pub(crate) fn find(&self, key: &SessionKey) -> Option<StaleSession> {
            let (most, copies) = self.0.as_ref()?;
            copies.get(&key.full()).filter(|copy| copy.age() <= *most)
        }
    }
}

#[cfg(not(feature = "stale"))]
mod no_copies {
    use super::{Duration, Record, StaleSession};
    use crate::store::SessionKey;

    #[derive(Default)]
    pub(crate) struct Copies(());

    #[expect(clippy::unused_self, reason = "as with the feature")]
    impl Copies {
        pub(crate) fn age(&self) -> Duration {
            Duration::ZERO
        }

        pub(crate) fn keep(&self, _: &SessionKey, _: &Record, _: usize) {}

        pub(crate) fn forget(&self, _: &SessionKey) {}

        pub(crate) fn find(&self, _: &SessionKey) -> Option<StaleSession> {
            None
        }
    }
}
