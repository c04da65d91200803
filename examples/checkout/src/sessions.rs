//! Where the sessions are: in Redis, shared by all processes, or in this one.

use reqwest::Url;
use scalekit::{
    Result, Signals,
    redis::{Redis, RedisConfig},
    session::{Cookie, RedisStore, Sessions, SessionsBuilder},
};

use crate::{failpoints::watched, shared::Shared};

/// What the sessions of this shop are filed under.
const NAMESPACE: &str = "checkout";

/// The sessions of one pod, and the state of their store.
pub(crate) struct SessionStore {
    pub(crate) sessions: Sessions,
    redis: Option<Redis>,
}

impl SessionStore {
    /// Connects on the current runtime, at the first use.
    pub(crate) fn open(shared: &Shared, signals: Signals) -> Result<Self> {
        let ring = shared.ring.clone();
        let redis = match shared.settings.redis.as_slice() {
            [] => None,
            urls => Some(Redis::open_with(urls, RedisConfig::default())?),
        };
        let builder = match &redis {
            Some(redis) => {
                let store = RedisStore::new(redis.clone());
                tokio::spawn(ask(store.clone()));
                Sessions::builder(watched(store), ring)
            }
            None => Sessions::builder(watched(shared.sessions.clone()), ring),
        };
        let builder = configured(builder, shared.settings.public_url.as_ref());
        Ok(Self { sessions: builder.signals(signals).build()?, redis })
    }

    /// The store's name.
    pub(crate) fn kind(&self) -> &'static str {
        if self.redis.is_some() { "redis" } else { "memory" }
    }

    /// Whether it is taken to be down.
    pub(crate) fn is_down(&self) -> bool {
        self.redis.as_ref().is_some_and(Redis::is_down)
    }
}

/// Says at start what would sign customers out later; the shop opens all the same.
async fn ask(store: RedisStore) {
    if let Err(error) = store.eviction().await {
        tracing::warn!("the redis of the sessions does not answer: {error}");
    }
}

/// Browsers keep a cookie with `Secure` for https only.
fn configured(builder: SessionsBuilder, public: Option<&Url>) -> SessionsBuilder {
    let https = public.is_some_and(|url| url.scheme() == "https");
    builder.namespace(NAMESPACE).cookie(if https { Cookie::host("id") } else { Cookie::dev("id") })
}
