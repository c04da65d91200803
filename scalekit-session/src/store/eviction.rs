//! Whether the Redis behind the sessions throws them away when its memory is full.

use scalekit_core::{
    Error, ErrorKind, Result,
    redis::{Value, cmd},
};

use super::redis::RedisStore;

/// What a Redis does when its memory is full; see [`RedisStore::eviction`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Eviction {
    /// Its `maxmemory-policy`; of a Cluster's nodes one that evicts, if there is one.
    pub policy: String,
    /// How many keys it has evicted since it was started; on a Cluster, all nodes together.
    pub evicted_keys: u64,
}

impl Eviction {
    /// Whether a full memory ends sessions that are in use: every policy but `noeviction` takes keys that have a
    /// deadline, and each session has one.
    pub fn ends_sessions(&self) -> bool {
        self.policy != "noeviction"
    }
}

impl RedisStore {
    /// Asks whether this Redis may throw sessions away, and warns in the log if so: a full memory would sign users out.
    /// Call it when the service starts. **Round trips**: 1.
    ///
    /// ```no_run
    /// use scalekit_core::redis::Redis;
    /// use scalekit_session::RedisStore;
    ///
    /// # async fn start() -> scalekit_core::Result<()> {
    /// let store = RedisStore::new(Redis::open("redis://127.0.0.1:6379")?);
    /// if store.eviction().await?.ends_sessions() {
    ///     // The log has said so; a strict service would not start.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The store's failure; [`ErrorKind::Corrupt`] if the server does not tell its policy.
    pub async fn eviction(&self) -> Result<Eviction> {
        let mut nodes = Vec::new();
        self.redis().query_each(&cmd("INFO")).await?.into_iter().for_each(|node| texts(node, &mut nodes));
        let number =
            |text: &String| field(text, "evicted_keys").and_then(|number| number.parse::<u64>().ok());
        let policies: Vec<&str> = nodes.iter().filter_map(|text| field(text, "maxmemory_policy")).collect();
        let evicting = policies.iter().find(|policy| **policy != "noeviction").or(policies.first());
        let Some(policy) = evicting else {
            return Err(Error::new(ErrorKind::Corrupt, "redis does not tell its maxmemory_policy"));
        };
        let eviction =
            Eviction { policy: (*policy).to_owned(), evicted_keys: nodes.iter().filter_map(number).sum() };
        if eviction.ends_sessions() || eviction.evicted_keys > 0 {
            let Eviction { policy, evicted_keys } = &eviction;
            tracing::warn!(
                policy,
                evicted_keys,
                "the redis that holds sessions throws keys away when its memory is full: its users are signed out; \
                 use maxmemory-policy noeviction"
            );
        }
        Ok(eviction)
    }
}

/// The answer of a server, or those of all nodes.
fn texts(answer: Value, found: &mut Vec<String>) {
    match answer {
        Value::BulkString(bytes) => found.push(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => found.push(text),
        Value::Array(all) => all.into_iter().for_each(|one| texts(one, found)),
        Value::Map(all) => all.into_iter().for_each(|(_, one)| texts(one, found)),
        _ => {}
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
