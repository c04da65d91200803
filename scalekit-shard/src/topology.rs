//! The shards as they are reached: a map, and a pool per database.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use scalekit_core::{
    Error, ErrorKind, Principal, Result,
    db::{Migration, Postgres, Tx, TxSource, migrate},
    skh1::ShardKey,
};
use sqlx::Pool;

use crate::{BudgetReport, Placement, ShardId, ShardMap, TopologyBuilder, engine::Engine, engine::Place};

/// The databases of a service: which shard a key is on, and transactions there.
///
/// As a [`TxSource`] it places by the principal's tenant (its id as text). It is cheap to clone, and clones share
/// pools and map.
///
/// Shards on the same server, database and role share one pool. Nothing is connected until it is used, and a shard
/// that is down fails its own requests at once and no others.
///
/// **Round trips**: placement none; BEGIN 1.
/// **Not guaranteed**: a transaction over several shards. One shard, one transaction.
///
/// ```no_run
/// # async fn f() -> scalekit_core::Result<()> {
/// use scalekit_core::{Principal, db};
/// use scalekit_shard::{Budget, ShardMap, Topology};
///
/// let topology = <Topology>::builder(ShardMap::even(["eu", "us"])?)
///     .with_url("eu", "postgres://app@db-eu/shop")
///     .with_url("us", "postgres://app@db-us/shop")
///     .with_pool_max(10)
///     .with_budget(Budget::direct(100).with_processes(4).with_beside(4))
///     .build()?;
/// topology.migrate(&[db::MIGRATIONS]).await?;
///
/// let mut tx = topology.begin(&Principal::user("ada").tenant("acme")).await?;
/// sqlx::query("insert into note (body) values ($1)").bind("hello").execute(&mut *tx).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
pub struct Topology<D: Engine = Postgres> {
    inner: Arc<Inner<D>>,
}

struct Inner<D: Engine> {
    map: ArcSwap<ShardMap>,
    shards: Vec<Shard<D>>,
    budget: Option<BudgetReport>,
}

/// One shard of a [`Topology`]; a clone has the same pool.
pub struct Shard<D: Engine = Postgres> {
    pub(crate) name: Box<str>,
    pub(crate) place: Place,
    pub(crate) pool: Pool<D>,
    pub(crate) source: D::Source,
}

impl<D: Engine> Topology<D> {
    /// Starts a topology of this map; every shard of it needs a URL or a pool.
    pub fn builder(map: ShardMap) -> TopologyBuilder<D> {
        TopologyBuilder::new(map)
    }

    pub(crate) fn new(map: ShardMap, shards: Vec<Shard<D>>, budget: Option<BudgetReport>) -> Self {
        Self { inner: Arc::new(Inner { map: ArcSwap::from_pointee(map), shards, budget }) }
    }

    /// The map that places keys now.
    pub fn map(&self) -> Arc<ShardMap> {
        self.inner.map.load_full()
    }

    /// Places keys by another version of the map from now on; transactions that are open stay where they are.
    ///
    /// It moves no rows: they must be where the new map looks for them.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if its epoch is not higher, or it has other shards than this topology.
    pub fn replace_map(&self, map: ShardMap) -> Result<()> {
        if !map.names().eq(self.inner.shards.iter().map(Shard::name)) {
            let message = "the new map must name the topology's shards, all of them and in their order";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let map = Arc::new(map);
        // Two callers at once: only an update from the version that was compared may win.
        let before = self.inner.map.rcu(|now| Arc::clone(if map.epoch() > now.epoch() { &map } else { now }));
        if map.epoch() > before.epoch() {
            return Ok(());
        }
        let (new, old) = (map.epoch(), before.epoch());
        Err(Error::new(
            ErrorKind::Config,
            format!("the new map has epoch {new}, the one in use {old}: it must be higher"),
        ))
    }

    /// Where a key belongs now.
    pub fn place(&self, key: &(impl ShardKey + ?Sized)) -> Placement {
        self.inner.map.load().place(key)
    }

    /// Why a key goes where it goes, to be printed.
    ///
    /// ```no_run
    /// # fn f(topology: scalekit_shard::Topology) {
    /// // slot 10315 of 16384 by skh1, shard "eu" by its slot, map epoch 1, up
    /// println!("{}", topology.explain("acme"));
    /// # }
    /// ```
    pub fn explain(&self, key: &(impl ShardKey + ?Sized)) -> Explanation {
        let placement = self.place(key);
        let shard = self.at(placement.shard);
        Explanation { placement, shard: shard.name.clone(), is_down: shard.is_down() }
    }

    /// The shard of a placement.
    ///
    /// # Panics
    /// If the placement was made by another topology with more shards.
    pub fn at(&self, shard: ShardId) -> &Shard<D> {
        &self.inner.shards[shard.index()]
    }

    /// The shard of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Misuse`] if there is none; the message names those that are.
    pub fn shard(&self, name: &str) -> Result<&Shard<D>> {
        self.shards().find(|shard| shard.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.shards().map(Shard::name).collect();
            let message = format!("there is no shard {name:?}; there are {}", names.join(", "));
            Error::new(ErrorKind::Misuse, message)
        })
    }

    /// All shards, in the map's order.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Shard<D>> {
        self.inner.shards.iter()
    }

    /// One shard for each database: what a relay or a sweeper runs on once, though shards may share a database.
    pub fn databases(&self) -> impl Iterator<Item = &Shard<D>> {
        let first = |(at, shard): &(usize, &Shard<D>)| {
            !self.inner.shards[..*at].iter().any(|earlier| earlier.place.same_rows(&shard.place))
        };
        self.inner.shards.iter().enumerate().filter(first).map(|(_, shard)| shard)
    }

    /// The arithmetic of the budget it was built with.
    pub fn budget(&self) -> Option<&BudgetReport> {
        self.inner.budget.as_ref()
    }

    /// Begins a transaction on the shard of the principal's tenant.
    ///
    /// # Errors
    /// As [`TxSource::begin`].
    pub async fn begin(&self, principal: &Principal) -> Result<Tx<D>> {
        self.begin_for(principal.tenant_id()).await
    }

    /// Begins a transaction on the shard of a key, such as an order's id.
    ///
    /// # Errors
    /// As [`TxSource::begin`].
    pub async fn begin_for(&self, key: &(impl ShardKey + Sync + ?Sized)) -> Result<Tx<D>> {
        let Placement { slot, shard, epoch, pinned } = self.place(key);
        let shard = self.at(shard);
        tracing::trace!(slot = slot.get(), shard = shard.name(), epoch, pinned, "placed");
        shard.open().await
    }

    /// Begins a transaction on the shard of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Misuse`] if there is no such shard, else as [`TxSource::begin`].
    pub async fn begin_on(&self, name: &str) -> Result<Tx<D>> {
        self.shard(name)?.open().await
    }

    /// Applies migrations to every database, one after the other; see [`migrate`].
    ///
    /// # Errors
    /// The first failure, with the shard's name; databases before it are migrated.
    pub async fn migrate(&self, lines: &[&[Migration]]) -> Result<()> {
        for shard in self.databases() {
            migrate(shard.pool(), lines).await.map_err(|error| {
                let message = format!("shard {:?} cannot be migrated: {error}", shard.name());
                Error::new(error.kind(), message).with_source(error)
            })?;
        }
        Ok(())
    }

    /// Asks every database what it is, and refuses two that turn out to be one under two names, such as `localhost` and
    /// `127.0.0.1`, or a link to a file: it would be taken for two in the budget and get two relays.
    ///
    /// Shards whose URLs name the same database share it on purpose, and pass. A database that is away is passed over:
    /// ask again when it is back. A server that is restarted between two questions is not recognised.
    /// **Round trips**: 3 per database, one database after the other.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the names of both shards; the failure of a database that does not answer the question.
    pub async fn check_distinct(&self) -> Result<()> {
        let mut known: Vec<(String, &str)> = Vec::new();
        for shard in self.databases() {
            let identity = match shard.identity().await {
                Err(error) if error.is_transient() => continue,
                asked => asked?,
            };
            let Some(identity) = identity else { continue };
            if let Some((_, other)) = known.iter().find(|(of, _)| *of == identity) {
                let message =
                    format!("the shards {other:?} and {:?} are one database under two names", shard.name());
                return Err(Error::new(ErrorKind::Config, message));
            }
            known.push((identity, shard.name()));
        }
        Ok(())
    }

    /// Closes all pools and waits for their connections.
    pub async fn close(&self) {
        for shard in self.shards() {
            shard.pool.close().await;
        }
    }
}

impl<D: Engine> Shard<D> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its pool; other shards on the same database and role have the same one.
    pub fn pool(&self) -> &Pool<D> {
        &self.pool
    }

    /// Begins a transaction here.
    ///
    /// # Errors
    /// As [`TxSource::begin`].
    pub async fn open(&self) -> Result<Tx<D>> {
        D::begin(&self.source).await
    }

    async fn identity(&self) -> Result<Option<String>> {
        let mut tx = self.open().await?;
        let identity = D::identity(&mut tx).await?;
        tx.rollback().await?;
        Ok(identity)
    }

    /// Whether its server is taken to be down.
    pub fn is_down(&self) -> bool {
        D::is_down(&self.source)
    }
}

#[async_trait]
impl<D: Engine> TxSource<D> for Topology<D> {
    async fn begin(&self, principal: &Principal) -> Result<Tx<D>> {
        Self::begin(self, principal).await
    }
}

#[async_trait]
impl<D: Engine> TxSource<D> for Shard<D> {
    async fn begin(&self, _: &Principal) -> Result<Tx<D>> {
        self.open().await
    }
}

impl<D: Engine> Clone for Topology<D> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<D: Engine> Clone for Shard<D> {
    fn clone(&self) -> Self {
        let Self { name, place, pool, source } = self;
        Self { name: name.clone(), place: place.clone(), pool: pool.clone(), source: source.clone() }
    }
}

impl<D: Engine> fmt::Debug for Topology<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology").field("map", &self.map()).finish_non_exhaustive()
    }
}

impl<D: Engine> fmt::Debug for Shard<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, place, .. } = self;
        f.debug_struct("Shard").field("name", name).field("server", &place.server).finish_non_exhaustive()
    }
}

/// Why a key goes where it goes; see [`Topology::explain`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// Slot, shard and version.
    pub placement: Placement,
    /// The shard's name.
    pub shard: Box<str>,
    /// Whether its server is taken to be down.
    pub is_down: bool,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Placement { slot, epoch, pinned, .. } = self.placement;
        let by = if pinned { "a pin" } else { "its slot" };
        let state = if self.is_down { "down" } else { "up" };
        let (slots, hash) = (scalekit_core::skh1::SLOTS, scalekit_core::skh1::NAME);
        write!(
            f,
            "slot {slot} of {slots} by {hash}, shard {:?} by {by}, map epoch {epoch}, {state}",
            self.shard
        )
    }
}
