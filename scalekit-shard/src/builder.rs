//! How a topology is put together; what cannot work is refused here.

use std::{fmt, time::Duration};

use scalekit_core::{Error, ErrorKind, Result, Signals, db::Postgres};
use sqlx::Pool;

use crate::{
    Budget, PoolShare, Shard, ShardMap, Topology,
    engine::{Engine, Place, PoolSize},
};

/// Collects the shards of a [`Topology`]; see there for an example.
#[must_use]
pub struct TopologyBuilder<D: Engine = Postgres> {
    map: ShardMap,
    given: Vec<(String, Given<D>)>,
    size: PoolSize,
    budget: Option<Budget>,
    signals: Signals,
    pub(crate) settings: D::Settings,
}

enum Given<D: Engine> {
    Url(String),
    Pool(Pool<D>),
}

impl<D: Engine> TopologyBuilder<D> {
    /// A topology of this map: pools of ten connections, half a second to get one.
    pub fn new(map: ShardMap) -> Self {
        let size = PoolSize { max: 10, acquire: Duration::from_millis(500) };
        let settings = D::Settings::default();
        Self { map, given: Vec::new(), size, budget: None, signals: Signals::default(), settings }
    }

    /// Reaches a shard by this URL, through a pool of the topology's own.
    pub fn with_url(mut self, shard: impl Into<String>, url: impl Into<String>) -> Self {
        self.given.push((shard.into(), Given::Url(url.into())));
        self
    }

    /// Reaches a shard through this pool.
    ///
    /// Where several shards are on the same server, database and role, the pool given first serves them all.
    pub fn with_pool(mut self, shard: impl Into<String>, pool: Pool<D>) -> Self {
        self.given.push((shard.into(), Given::Pool(pool)));
        self
    }

    /// How many connections each pool made from a URL may open; 10 unless said otherwise.
    pub fn with_pool_max(mut self, max: u32) -> Self {
        self.size.max = max;
        self
    }

    /// How long a request waits for a connection; 500 ms unless said otherwise. SQLite has its own queue.
    pub fn with_acquire_timeout(mut self, within: Duration) -> Self {
        self.size.acquire = within;
        self
    }

    /// What the servers can bear; the pools must fit.
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Reports the wait for each connection and the age of each transaction, of all shards together.
    pub fn with_signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// Checks everything and makes the pools; connects to nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a shard of the map has no URL or pool or has two, one is given for a shard that the
    /// map does not have, a URL cannot be read, a pool is empty, or the budget does not hold.
    /// [`ErrorKind::Misuse`] outside of a Tokio runtime, which sqlx' pools need.
    pub fn build(mut self) -> Result<Topology<D>> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::new(ErrorKind::Misuse, "a topology is built inside a Tokio runtime"));
        }
        if self.size.max == 0 {
            return Err(config("a pool needs at least one connection".into()));
        }
        let known: Vec<String> = self.map.names().map(Into::into).collect();
        if let Some((name, _)) = self.given.iter().find(|(name, _)| !known.contains(name)) {
            return Err(config(format!("the shard map has no shard {name:?}; it has {}", known.join(", "))));
        }
        let mut shards: Vec<Shard<D>> = Vec::with_capacity(known.len());
        for name in known {
            let shard = self.shard(name, &shards)?;
            shards.push(shard);
        }
        let budget = self.budget.map(|budget| budget.check(&shares(&shards))).transpose()?;
        Ok(Topology::new(self.map, shards, budget))
    }

    fn shard(&mut self, name: String, earlier: &[Shard<D>]) -> Result<Shard<D>> {
        let mut given: Vec<_> = self.given.extract_if(.., |(of, _)| *of == name).collect();
        let pool = match (given.pop(), given.pop()) {
            (Some((_, given)), None) => given.pool(&name, self.size)?,
            (None, _) => return Err(config(format!("shard {name:?} has neither a URL nor a pool"))),
            (Some(_), Some(_)) => return Err(config(format!("shard {name:?} is given twice"))),
        };
        let place = D::place(&pool);
        let name = name.into_boxed_str();
        if let Some(Shard { pool, source, .. }) = earlier.iter().find(|shard| shard.place == place) {
            return Ok(Shard { name, place, pool: pool.clone(), source: source.clone() });
        }
        let source = D::source(pool.clone(), &self.settings, self.size, self.signals.clone());
        Ok(Shard { name, place, pool, source })
    }
}

impl<D: Engine> Given<D> {
    fn pool(self, name: &str, size: PoolSize) -> Result<Pool<D>> {
        match self {
            Self::Pool(pool) => Ok(pool),
            Self::Url(url) => D::pool(&url, size).map_err(|error| {
                // The URL itself stays out of the message: it may hold a password.
                config(format!("the URL of shard {name:?} cannot be used: {error}")).with_source(error)
            }),
        }
    }
}

/// Each pool once, however many shards are on it.
fn shares<D: Engine>(shards: &[Shard<D>]) -> Vec<PoolShare> {
    let mut seen: Vec<&Place> = Vec::new();
    let mut out = Vec::new();
    for Shard { place, pool, .. } in shards {
        if !seen.contains(&place) {
            seen.push(place);
            out.push(PoolShare::new(place.server.as_str(), pool.options().get_max_connections()));
        }
    }
    out
}

fn config(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

impl<D: Engine> fmt::Debug for TopologyBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TopologyBuilder");
        out.field("map", &self.map).field("pools", &self.size).field("budget", &self.budget);
        out.finish_non_exhaustive()
    }
}
