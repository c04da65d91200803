//! Lua scripts: the hash travels, the source only where it must.

use std::{fmt, sync::OnceLock};

use ::redis::{Cmd, ToRedisArgs};

use crate::slot;

/// A Lua script. Its source is static and starts with a comment that says what it does.
///
/// ```
/// use scalekit_core::redis::Script;
///
/// static ADD: Script = Script::new(
///     "-- Adds ARGV[1] to the number at KEYS[1]. Returns the sum. Atomic: a reader never sees half of it.\n\
///      return redis.call('INCRBY', KEYS[1], ARGV[1])",
/// );
/// # async fn example(redis: scalekit_core::redis::Redis) -> scalekit_core::Result<()> {
/// let sum: i64 = redis.run(&ADD.key("hits").arg(2)).await?;
/// # Ok(())
/// # }
/// ```
pub struct Script {
    source: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    /// A script of this source.
    ///
    /// # Panics
    /// When the source does not start with a Lua comment; in a `static`, that is an error of the compiler.
    pub const fn new(source: &'static str) -> Self {
        assert!(
            matches!(source.as_bytes(), [b'-', b'-', ..]),
            "a script starts with a comment: keys, arguments, result, and why it is atomic"
        );
        Self { source, hash: OnceLock::new() }
    }

    /// Starts a call with its first key. On a Cluster all keys must share a slot.
    pub fn key(&self, key: impl ToRedisArgs) -> Call<'_> {
        Call { script: self, keys: Vec::new(), args: Vec::new() }.key(key)
    }

    fn hash(&self) -> &str {
        self.hash.get_or_init(|| ::redis::Script::new(self.source).get_hash().to_owned())
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.source.lines().next().unwrap_or_default()).finish()
    }
}

/// A script with its keys and arguments, to be given to [`Redis::run`](super::Redis::run).
#[must_use]
pub struct Call<'a> {
    script: &'a Script,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

impl Call<'_> {
    /// Adds a key.
    pub fn key(self, key: impl ToRedisArgs) -> Self {
        let call = self.key_of_any_slot(key);
        debug_assert!(
            call.keys.iter().all(|key| slot(key) == slot(&call.keys[0])),
            "the keys of a script share a slot"
        );
        call
    }

    /// Adds a key that may be in another slot: for callers that have made sure that this is no
    /// [Cluster](super::Redis::is_cluster), where the call would be refused.
    pub fn key_of_any_slot(mut self, key: impl ToRedisArgs) -> Self {
        self.keys.extend(key.to_redis_args());
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl ToRedisArgs) -> Self {
        self.args.extend(arg.to_redis_args());
        self
    }

    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.hash())
    }

    pub(super) fn by_source(&self) -> Cmd {
        self.command("EVAL", self.script.source)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = ::redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.args);
        command
    }
}

// Keys and arguments may hold what belongs in no log.
impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("script", self.script)
            .field("keys", &self.keys.len())
            .field("args", &self.args.len())
            .finish()
    }
}
