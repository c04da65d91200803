//! A store to be tested, its time, and what is put into it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use scalekit_core::{
    Clock, ManualClock, OperationId, SystemClock,
    redis::{Redis, RedisConfig, cmd},
};
use scalekit_session::{
    MemoryStore, RedisStore,
    store::{
        Change, Committed, Created, Creation, Ending, Loaded, Record, Removed, Replaced, Rotated, Rules,
        SessionKey, Store, Successor,
    },
};
use scalekit_testkit::{RedisCluster, RedisServer};

pub(crate) const BUDGET: Duration = Duration::from_secs(10);
pub(crate) const INDEX: &str = "t:{00ff}:u:someone";

pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) rules: Rules,
    clock: Option<Arc<ManualClock>>,
    servers: Servers,
}

/// What the store needs to be up, and where the keys are.
enum Servers {
    None,
    One(Box<RedisServer>),
    /// The place of the master of the slot, and whether its replica has taken over.
    Cluster(Box<RedisCluster>, usize, bool),
}

impl Fixture {
    pub(crate) fn memory() -> Self {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let store = Arc::new(MemoryStore::with_clock(clock.clone()));
        Self { store, rules: rules(), clock: Some(clock), servers: Servers::None }
    }

    pub(crate) async fn redis() -> Self {
        let server = scalekit_testkit::Redis::start().await;
        let redis = Redis::open_with(&[server.url()], patient()).unwrap();
        let (store, servers) = (Arc::new(RedisStore::new(redis)), Servers::One(Box::new(server)));
        Self { store, rules: rules(), clock: None, servers }
    }

    /// On three masters with a replica each.
    pub(crate) async fn cluster() -> Self {
        let cluster = scalekit_testkit::Redis::cluster_builder(3).replicas().start().await;
        let redis = Redis::open_with(&cluster.urls(), patient()).unwrap();
        let place = cluster.node_of(INDEX).await;
        let (store, servers) =
            (Arc::new(RedisStore::new(redis)), Servers::Cluster(Box::new(cluster), place, false));
        Self { store, rules: rules(), clock: None, servers }
    }

    /// Kills the master of the slot; the replica has taken over, and the store has found it, when this returns.
    pub(crate) async fn fail_over(&mut self) {
        let Servers::Cluster(cluster, place, promoted) = &mut self.servers else { panic!("no Cluster") };
        let replica = &cluster.replicas()[*place];
        cluster.nodes()[*place].kill().await;
        scalekit_testkit::wait_until("the replica is promoted", BUDGET, async || replica.is_master().await)
            .await;
        *promoted = true;
        let nobody = key("nobody");
        scalekit_testkit::wait_until("the store has found it", BUDGET, async || {
            self.store.peek(&nobody, BUDGET).await.is_ok()
        })
        .await;
    }

    /// The server that has the keys.
    pub(crate) fn server(&self) -> Option<&RedisServer> {
        match &self.servers {
            Servers::None => None,
            Servers::One(server) => Some(server),
            Servers::Cluster(cluster, place, false) => cluster.nodes().get(*place),
            Servers::Cluster(cluster, place, true) => cluster.replicas().get(*place),
        }
    }

    /// Redis has no clock to set: there, all that is stored is moved into the past.
    pub(crate) async fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap();
        let Some(server) = self.server() else { return self.clock.as_ref().unwrap().advance(by) };
        let redis = Redis::open_with(&[server.url()], patient()).unwrap();
        for key in server.keys().await {
            let left: i64 = redis.query(cmd("PTTL").arg(&key)).await.unwrap();
            if left <= ms {
                let () = redis.query(cmd("DEL").arg(&key)).await.unwrap();
                continue;
            }
            let () = redis.query(cmd("PEXPIRE").arg(&key).arg(left - ms)).await.unwrap();
            if key.contains(":u:") {
                let members: Vec<String> = redis.query(cmd("ZRANGE").arg(&key).arg(0).arg(-1)).await.unwrap();
                for member in members {
                    let () = redis.query(cmd("ZINCRBY").arg(&key).arg(-ms).arg(member)).await.unwrap();
                }
            } else {
                for field in ["!a", "!c", "!r", "!q"] {
                    if redis.query(cmd("HEXISTS").arg(&key).arg(field)).await.unwrap() {
                        let () = redis.query(cmd("HINCRBY").arg(&key).arg(field).arg(-ms)).await.unwrap();
                    }
                }
            }
        }
    }

    pub(crate) async fn load(&self, key: &SessionKey) -> Option<Record> {
        match self.open(key).await {
            Loaded::Live(record) => Some(record),
            Loaded::Forwarded { .. } | Loaded::Reused { .. } | Loaded::Ended | Loaded::Missing => None,
        }
    }

    /// Loads, and waits for the deadline that Redis moves afterwards.
    pub(crate) async fn open(&self, key: &SessionKey) -> Loaded {
        let loaded = self.store.load(key, &self.rules, BUDGET).await.unwrap();
        if let (Loaded::Live(record), Some(server)) = (&loaded, self.server()) {
            let redis = Redis::open_with(&[server.url()], patient()).unwrap();
            let most = record.0["!a"].parse::<i64>().unwrap() - i64::try_from(SystemClock.now_ms()).unwrap();
            let idle = i64::try_from(self.rules.idle.as_millis()).unwrap();
            scalekit_testkit::wait_until("the deadline is moved", BUDGET, async || {
                let left: i64 = redis.query(cmd("PTTL").arg(key.full())).await.unwrap();
                record.0.contains_key("!r") || idle.min(most) - left < idle / 10
            })
            .await;
        }
        loaded
    }

    pub(crate) async fn end(&self, key: &SessionKey, version: Option<u64>, ending: Ending) -> Removed {
        self.store.end(key, version, ending, BUDGET).await.unwrap()
    }

    pub(crate) async fn rotate(&self, from: &SessionKey, to: &SessionKey, successor: Successor) -> Rotated {
        self.store.rotate(from, to, successor, BUDGET).await.unwrap()
    }

    pub(crate) async fn commit(&self, key: &SessionKey, changes: &[Change]) -> Committed {
        self.store.commit(key, changes, None, &self.rules, BUDGET).await.unwrap()
    }

    pub(crate) async fn apply(&self, key: &SessionKey, changes: &[Change], id: OperationId) -> Committed {
        self.store.commit(key, changes, Some(id), &self.rules, BUDGET).await.unwrap()
    }

    pub(crate) async fn create(&self, creation: &Creation) -> Created {
        self.store.create(creation, &self.rules, BUDGET).await.unwrap()
    }

    pub(crate) async fn given(&self, member: &str, fields: &[(&str, &str)]) -> SessionKey {
        let creation = creation(member, fields);
        assert_eq!(self.create(&creation).await, Created::Done);
        creation.key
    }

    pub(crate) async fn members(&self) -> Vec<String> {
        let prefix = key("").prefix;
        let listed = self.store.list(INDEX, &prefix, &self.rules, BUDGET).await.unwrap();
        listed.into_iter().map(|one| one.member).collect()
    }

    /// What is stored, apart from the marks of sessions that were ended; only in Redis.
    pub(crate) async fn left(&self) -> Vec<String> {
        let Some(server) = self.server() else { return Vec::new() };
        let redis = Redis::open_with(&[server.url()], patient()).unwrap();
        let mut left = Vec::new();
        for key in server.keys().await {
            let marked =
                !key.contains(":u:") && redis.query(cmd("HEXISTS").arg(&key).arg("!x")).await.unwrap();
            if !marked {
                left.push(key);
            }
        }
        left
    }

    pub(crate) async fn field(&self, key: &SessionKey, name: &str) -> Option<String> {
        self.load(key).await.and_then(|record| record.0.get(name).cloned())
    }
}

pub(crate) fn patient() -> RedisConfig {
    RedisConfig::default().with_io_budget(BUDGET).with_connect_timeout(BUDGET)
}

pub(crate) fn rules() -> Rules {
    Rules {
        idle: Duration::from_secs(60),
        absolute: Duration::from_secs(600),
        grace: Duration::from_secs(20),
        max_fields: 40,
        max_bytes: 4_000,
        max_sessions: 5,
    }
}

pub(crate) fn key(member: &str) -> SessionKey {
    SessionKey { prefix: "t:{00ff}:s:".to_owned(), member: member.to_owned() }
}

pub(crate) fn creation(member: &str, fields: &[(&str, &str)]) -> Creation {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let fields: BTreeMap<String, String> = fields.collect();
    let Rules { idle, absolute, .. } = rules();
    let index = Some(INDEX.to_owned());
    Creation { key: key(member), fields, idle, absolute, index, replaces: None, again: false }
}

pub(crate) fn replaced(key: &SessionKey, version: u64) -> Replaced {
    Replaced { key: key.clone(), version: Some(version), ending: Ending::Mark }
}

pub(crate) fn set(field: &str, value: &str) -> Change {
    Change::Set(field.to_owned(), value.to_owned())
}

pub(crate) fn add(field: &str, by: i64, floor: bool) -> Change {
    Change::Add(field.to_owned(), by, floor)
}

pub(crate) fn swap(field: &str, old: Option<&str>, new: &str) -> Change {
    Change::Swap(field.to_owned(), old.map(str::to_owned), Some(new.to_owned()))
}
