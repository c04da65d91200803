//! The arithmetic of connections, done at start instead of at three in the morning.

use std::{collections::BTreeMap, fmt};

use scalekit_core::{Error, ErrorKind, Result};

/// How many connections a database server has, and who shares them.
///
/// A topology that is given one refuses to be built when its pools, in all processes together, could open more
/// connections than a server has. Pools are summed per server (host and port).
///
/// | deployment | what must hold, per server |
/// |---|---|
/// | direct | processes × Σ (`pool_max` + beside) + reserve ≤ `max_connections` |
/// | [`Pgbouncer`] | `pool_max` < `default_pool_size`, for each pool |
/// | | processes × Σ (`pool_max` + beside) ≤ `max_client_conn` × instances |
/// | | `default_pool_size` × pools × instances + reserve ≤ `max_connections` |
///
/// **Not guaranteed**: that the servers are configured as declared here, or that nobody else connects to them.
///
/// ```
/// use scalekit_shard::{Budget, PoolShare};
///
/// let two = [PoolShare::new("db1:5432", 10), PoolShare::new("db1:5432", 10)];
/// let budget = Budget::direct(100).with_processes(4).with_beside(4);
/// assert_eq!(
///     budget.check(&two).unwrap_err().to_string(),
///     "the connections do not fit: db1:5432: 4 processes x (10 + 4 + 10 + 4) + 3 reserve = 115 > 100 max_connections"
/// );
/// let fits = budget.with_processes(3).check(&two)?;
/// assert_eq!(
///     fits.to_string(),
///     "db1:5432: 3 processes x (10 + 4 + 10 + 4) + 3 reserve = 87 <= 100 max_connections"
/// );
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Budget {
    max_connections: u32,
    processes: u32,
    beside: u32,
    reserve: u32,
    pgbouncer: Option<Pgbouncer>,
}

/// The limits of the pgbouncers in front of a server; see [`Budget::behind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pgbouncer {
    /// `default_pool_size`: server connections per database and role.
    pub default_pool_size: u32,
    /// `max_client_conn` of one instance.
    pub max_client_conn: u32,
    /// How many instances stand in front of one server.
    pub instances: u32,
}

/// One pool of a process: the server it connects to and its size; see [`Budget`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolShare {
    server: String,
    pool_max: u32,
}

impl PoolShare {
    /// A pool of at most `pool_max` connections to this server.
    pub fn new(server: impl Into<String>, pool_max: u32) -> Self {
        Self { server: server.into(), pool_max }
    }
}

/// The arithmetic of a budget that holds, one line per bound; `Display` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetReport(Vec<String>);

impl fmt::Display for BudgetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl Budget {
    /// Processes that connect to the servers themselves; each server accepts `max_connections`.
    ///
    /// One process, nothing beside its pools, and Postgres' own reserve of three unless said otherwise.
    pub fn direct(max_connections: u32) -> Self {
        Self { max_connections, processes: 1, beside: 0, reserve: 3, pgbouncer: None }
    }

    /// Processes that connect through pgbouncers in transaction mode.
    ///
    /// ```
    /// use scalekit_shard::{Budget, Pgbouncer, PoolShare};
    ///
    /// let pgbouncer = Pgbouncer { default_pool_size: 20, max_client_conn: 1_000, instances: 2 };
    /// let budget = Budget::behind(pgbouncer, 100).with_processes(50);
    /// let report = budget.check(&[PoolShare::new("db1:6432", 10)])?;
    /// assert_eq!(
    ///     report.to_string(),
    ///     "db1:6432: pool_max 10 < 20 default_pool_size; \
    ///      db1:6432: 50 processes x (10 + 0) = 500 <= 1000 max_client_conn x 2 instances = 2000; \
    ///      db1:6432: 20 default_pool_size x 1 pools x 2 instances + 3 reserve = 43 <= 100 max_connections"
    /// );
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn behind(pgbouncer: Pgbouncer, max_connections: u32) -> Self {
        Self { pgbouncer: Some(pgbouncer), ..Self::direct(max_connections) }
    }

    /// How many processes (pods) run at once; count those of a rolling restart twice.
    pub fn with_processes(mut self, processes: u32) -> Self {
        self.processes = processes;
        self
    }

    /// Connections that a process opens per pool in addition to it: relay, consumer, probes.
    pub fn with_beside(mut self, beside: u32) -> Self {
        self.beside = beside;
        self
    }

    /// Connections kept free on each server: superusers, migrations, other services.
    pub fn with_reserve(mut self, reserve: u32) -> Self {
        self.reserve = reserve;
        self
    }

    /// Does the sums for the pools of one process.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the arithmetic of every bound that does not hold.
    pub fn check(&self, pools: &[PoolShare]) -> Result<BudgetReport> {
        let mut servers: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for pool in pools {
            servers.entry(&pool.server).or_default().push(pool.pool_max);
        }
        let bounds: Vec<_> = servers.iter().flat_map(|(server, pools)| self.bounds(server, pools)).collect();
        let lines = |held: bool| bounds.iter().filter(move |one| one.0 == held).map(|one| one.1.clone());
        let broken: Vec<_> = lines(false).collect();
        if broken.is_empty() {
            return Ok(BudgetReport(lines(true).collect()));
        }
        let message = format!("the connections do not fit: {}", broken.join("; "));
        Err(Error::new(ErrorKind::Config, message))
    }

    /// Each bound of one server: whether it holds, and its arithmetic.
    fn bounds(&self, server: &str, pools: &[u32]) -> Vec<(bool, String)> {
        let Self { max_connections, processes, beside, reserve, pgbouncer } = self;
        let opened: u128 = pools.iter().map(|max| u128::from(*max) + u128::from(*beside)).sum();
        let clients = opened.saturating_mul(u128::from(*processes));
        let terms: Vec<_> = pools.iter().map(|max| format!("{max} + {beside}")).collect();
        let asked = format!("{processes} processes x ({})", terms.join(" + "));
        let Some(Pgbouncer { default_pool_size, max_client_conn, instances }) = pgbouncer else {
            let sum = clients + u128::from(*reserve);
            let (holds, sign) = compare(sum, u128::from(*max_connections));
            let text = format!(
                "{server}: {asked} + {reserve} reserve = {sum} {sign} {max_connections} max_connections"
            );
            return vec![(holds, text)];
        };
        let mut bounds = Vec::new();
        for max in pools {
            let holds = max < default_pool_size;
            let sign = if holds { "<" } else { ">=" };
            bounds.push((
                holds,
                format!("{server}: pool_max {max} {sign} {default_pool_size} default_pool_size"),
            ));
        }
        bounds.dedup();
        let accepted = u128::from(*max_client_conn) * u128::from(*instances);
        let (holds, sign) = compare(clients, accepted);
        let limit = format!("{max_client_conn} max_client_conn x {instances} instances = {accepted}");
        bounds.push((holds, format!("{server}: {asked} = {clients} {sign} {limit}")));
        let pairs = pools.len();
        let sum =
            u128::from(*default_pool_size) * pairs as u128 * u128::from(*instances) + u128::from(*reserve);
        let (holds, sign) = compare(sum, u128::from(*max_connections));
        let asked = format!("{default_pool_size} default_pool_size x {pairs} pools x {instances} instances");
        let text =
            format!("{server}: {asked} + {reserve} reserve = {sum} {sign} {max_connections} max_connections");
        bounds.push((holds, text));
        bounds
    }
}

fn compare(sum: u128, limit: u128) -> (bool, &'static str) {
    if sum <= limit { (true, "<=") } else { (false, ">") }
}
