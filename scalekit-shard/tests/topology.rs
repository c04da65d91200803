//! Transactions begin on the right database, a dead shard is its own trouble, and bad wiring is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use scalekit_core::{
    ErrorKind, Principal,
    db::{MIGRATIONS, Migration, Postgres, TxSource},
};
use scalekit_shard::{Budget, ShardMap, Slot, Topology, TopologyBuilder};
use scalekit_testkit::{Database, PostgresServer, wait_until};

const NOTES: &[Migration] = &[Migration {
    line: "notes",
    version: 1,
    name: "note",
    postgres: "create table note (tenant text not null)",
    sqlite: "create table note (tenant text not null)",
}];
const SOON: Duration = Duration::from_secs(20);

fn builder(names: &[&str]) -> TopologyBuilder {
    Topology::builder(ShardMap::even(names.iter().copied()).unwrap())
}

async fn migrated(urls: &[(&str, String)]) -> Topology {
    let names: Vec<&str> = urls.iter().map(|(name, _)| *name).collect();
    let with_url =
        |builder: TopologyBuilder, (name, url): &(&str, String)| builder.with_url(*name, url.as_str());
    let topology = urls.iter().fold(builder(&names), with_url).with_pool_max(4).build().unwrap();
    topology.migrate(&[MIGRATIONS, NOTES]).await.unwrap();
    topology
}

async fn shared() -> Database {
    scalekit_testkit::Postgres::shared().await.database().await
}

async fn note(topology: &Topology, tenant: &str) {
    let mut tx = topology.begin(&Principal::user("ada").tenant(tenant)).await.unwrap();
    sqlx::query("insert into note (tenant) values ($1)").bind(tenant).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn notes_of(topology: &Topology, shard: &str) -> Vec<String> {
    let pool = topology.shard(shard).unwrap().pool();
    sqlx::query_scalar("select tenant from note order by tenant").fetch_all(pool).await.unwrap()
}

/// Tenants that the map places on this shard.
fn tenants_on(map: &ShardMap, shard: &str, count: usize) -> Vec<String> {
    let named = (0..).map(|number| format!("tenant-{number}"));
    named.filter(|tenant| map.name(map.place(tenant).shard) == shard).take(count).collect()
}

#[tokio::test]
async fn each_tenant_is_written_where_the_map_says() {
    let (one, two, three) = (shared().await, shared().await, shared().await);
    let topology = migrated(&[("a", one.url()), ("b", two.url()), ("c", three.url())]).await;
    let tenants: Vec<String> = (0..60).map(|number| format!("tenant-{number:02}")).collect();
    for tenant in &tenants {
        note(&topology, tenant).await;
    }
    let map = topology.map();
    let mut seen = 0;
    for shard in ["a", "b", "c"] {
        let on_it = |tenant: &&String| map.name(map.place(*tenant).shard) == shard;
        let expected: Vec<&String> = tenants.iter().filter(on_it).collect();
        assert!(!expected.is_empty());
        seen += expected.len();
        assert_eq!(notes_of(&topology, shard).await.iter().collect::<Vec<_>>(), expected);
    }
    assert_eq!(seen, tenants.len());
}

#[tokio::test]
async fn key_name_and_source_reach_the_same_database() {
    let (one, two) = (shared().await, shared().await);
    let topology = migrated(&[("a", one.url()), ("b", two.url())]).await;
    let source: Arc<dyn TxSource> = Arc::new(topology.clone());
    for tenant in tenants_on(&topology.map(), "b", 3) {
        let placed = topology.place(&tenant);
        assert_eq!((placed.slot, placed.epoch, placed.pinned), (Slot::of(&tenant), 1, false));
        assert_eq!(topology.at(placed.shard).name(), "b");
        let principal = Principal::guest("g").tenant(tenant.as_str());
        let by_principal = source.begin(&principal).await.unwrap();
        for mut tx in
            [by_principal, topology.begin_for(&tenant).await.unwrap(), topology.begin_on("b").await.unwrap()]
        {
            let database: String =
                sqlx::query_scalar("select current_database()").fetch_one(&mut *tx).await.unwrap();
            assert_eq!(database, two.name());
        }
    }
    let unknown = topology.begin_on("c").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Misuse);
    assert_eq!(unknown.to_string(), "there is no shard \"c\"; there are a, b");
}

#[tokio::test]
async fn shards_of_one_database_and_role_share_a_pool() {
    let (one, two) = (shared().await, shared().await);
    let other_role = one.url().replace("postgres@", "reader@");
    assert_ne!(other_role, one.url());
    let topology = builder(&["a", "b", "c", "d"])
        .with_url("a", one.url())
        .with_url("b", two.url())
        .with_url("c", one.url())
        .with_url("d", other_role)
        .with_pool_max(1)
        .with_acquire_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    // Only one connection to the database of `a` and `c`: who holds it shuts the other out.
    let held = topology.begin_on("a").await.unwrap();
    let full = topology.begin_on("c").await.unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Unavailable);
    drop(held);
    topology.begin_on("c").await.unwrap();
    // Who goes over all rows meets each database once, whatever the role.
    assert_eq!(topology.databases().map(|shard| shard.name()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(topology.shards().len(), 4);
}

#[tokio::test]
async fn a_pool_of_the_service_serves_beside_urls() {
    let (one, two) = (shared().await, shared().await);
    let own = one.pool(3).await;
    let topology = builder(&["a", "b"]).with_pool("a", own.clone()).with_url("b", two.url()).build().unwrap();
    topology.migrate(&[MIGRATIONS, NOTES]).await.unwrap();
    let tenant = tenants_on(&topology.map(), "a", 1).remove(0);
    note(&topology, &tenant).await;
    let seen: Vec<String> = sqlx::query_scalar("select tenant from note").fetch_all(&own).await.unwrap();
    assert_eq!(seen, [tenant]);
}

#[tokio::test]
async fn a_dead_shard_fails_its_own_tenants_and_no_others() {
    let server: PostgresServer = scalekit_testkit::Postgres::start().await;
    let (one, two) = (server.database().await, shared().await);
    let topology = migrated(&[("a", one.url()), ("b", two.url())]).await;
    let dead = tenants_on(&topology.map(), "a", 1).remove(0);
    let alive = tenants_on(&topology.map(), "b", 1).remove(0);
    server.kill().await;
    let error = topology.begin_for(&dead).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(topology.explain(&dead).is_down && !topology.explain(&alive).is_down);
    assert!(topology.shard("a").unwrap().is_down() && !topology.shard("b").unwrap().is_down());
    note(&topology, &alive).await;
    server.restart().await;
    wait_until("the shard is back", SOON, async || topology.begin_for(&dead).await.is_ok()).await;
    assert!(!topology.explain(&dead).is_down);
    note(&topology, &dead).await;
    assert_eq!(notes_of(&topology, "a").await, [dead]);
}

#[tokio::test]
async fn a_migration_that_fails_names_its_shard() {
    let one = shared().await;
    let gone = one.url().replace(one.name(), "no_such_database");
    let topology = builder(&["a", "b"]).with_url("a", one.url()).with_url("b", gone).build().unwrap();
    let error = topology.migrate(&[MIGRATIONS]).await.unwrap_err();
    assert!(error.to_string().starts_with("shard \"b\" cannot be migrated"), "{error}");
}

#[tokio::test]
async fn a_decision_is_explained() {
    let url = "postgres://postgres@127.0.0.1:1/none";
    let map = ShardMap::even(["a"]).unwrap().with_shard("big").unwrap();
    let map = map.with_pin("acme", "big").unwrap().with_epoch(7);
    let topology = <Topology>::builder(map).with_url("a", url).with_url("big", url).build().unwrap();
    assert_eq!(
        topology.explain("acme").to_string(),
        "slot 10315 of 16384 by skh1, shard \"big\" by a pin, map epoch 7, up"
    );
    assert!(topology.explain("other").to_string().contains("shard \"a\" by its slot, map epoch 7"));
}

#[tokio::test]
async fn a_new_map_needs_the_same_shards_and_a_higher_epoch() {
    let url = "postgres://postgres@127.0.0.1:1/none";
    let topology = builder(&["a", "b"]).with_url("a", url).with_url("b", url).build().unwrap();
    let refused = |map: ShardMap| topology.replace_map(map).unwrap_err().to_string();
    assert_eq!(
        refused(ShardMap::even(["a", "b"]).unwrap()),
        "the new map has epoch 1, the one in use 1: it must be higher"
    );
    for other in [&["b", "a"][..], &["a"], &["a", "b", "c"]] {
        let map = ShardMap::even(other.iter().copied()).unwrap().with_epoch(2);
        assert!(refused(map).contains("must name the topology's shards"));
    }
    let moved = ShardMap::ranges([("a", 0..=99), ("b", 100..=16_383)]).unwrap().with_epoch(2);
    topology.replace_map(moved.clone()).unwrap();
    assert_eq!(*topology.map(), moved);
    assert_eq!(topology.place("acme").epoch, 2);
}

#[tokio::test]
async fn bad_wiring_is_refused_with_its_fault() {
    let url = "postgres://app:hunter2@db1/shop";
    let refused = |builder: TopologyBuilder| {
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    let both = || builder(&["a", "b"]).with_url("a", url);
    assert_eq!(refused(both()), "shard \"b\" has neither a URL nor a pool");
    assert_eq!(refused(both().with_url("b", url).with_url("a", url)), "shard \"a\" is given twice");
    assert_eq!(
        refused(both().with_url("b", url).with_url("c", url)),
        "the shard map has no shard \"c\"; it has a, b"
    );
    assert_eq!(refused(both().with_url("b", url).with_pool_max(0)), "a pool needs at least one connection");
    let bad = refused(both().with_url("b", "postgres://app:hunter2@db1:port/shop"));
    assert!(bad.starts_with("the URL of shard \"b\" cannot be used") && !bad.contains("hunter2"), "{bad}");
    let shown = format!("{:?} {:?}", both(), both().with_url("b", url).build().unwrap().shard("a").unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_budget_that_does_not_hold_is_refused_with_its_sum() {
    let on = |host: &str, database: &str| format!("postgres://app@{host}/{database}");
    let topology = |processes| {
        builder(&["a", "b", "c", "d"])
            .with_url("a", on("db1", "one"))
            .with_url("b", on("DB1", "two"))
            .with_url("c", on("db2", "one"))
            .with_url("d", on("db1", "one"))
            .with_pool_max(10)
            .with_budget(Budget::direct(100).with_processes(processes).with_beside(4))
            .build()
    };
    // `a` and `d` share a pool, and it is counted once.
    assert_eq!(
        topology(4).unwrap_err().to_string(),
        "the connections do not fit: \
         db1:5432: 4 processes x (10 + 4 + 10 + 4) + 3 reserve = 115 > 100 max_connections"
    );
    let fits = topology(3).unwrap();
    assert_eq!(
        fits.budget().unwrap().to_string(),
        "db1:5432: 3 processes x (10 + 4 + 10 + 4) + 3 reserve = 87 <= 100 max_connections; \
         db2:5432: 3 processes x (10 + 4) + 3 reserve = 45 <= 100 max_connections"
    );
}

#[tokio::test]
async fn pools_never_open_more_than_their_budget() {
    let database = shared().await;
    let topology = migrated(&[("a", database.url()), ("b", database.url())]).await;
    let work = scalekit_testkit::at_once(60, |_| {
        let topology = topology.clone();
        async move {
            for shard in ["a", "b"] {
                if let Ok(mut tx) = topology.begin_on(shard).await {
                    sqlx::query("select pg_sleep(0.01)").execute(&mut *tx).await.unwrap();
                }
            }
        }
    });
    let watch = async {
        let pool = database.pool(1).await;
        let open = "select count(*) from pg_stat_activity where datname = current_database() \
                    and pid <> pg_backend_pid() and backend_type = 'client backend'";
        let mut most = 0;
        loop {
            most = most.max(sqlx::query_scalar::<_, i64>(open).fetch_one(&pool).await.unwrap());
            // One may stand beside the pool for a moment: the probe that tells "busy" from "down".
            assert!(most <= 4 + 1, "{most} connections");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { _ = work => {}, () = watch => {} }
}

#[test]
fn outside_of_a_runtime_it_is_an_error_not_a_panic() {
    let error = builder(&["a"]).with_url("a", "postgres://db/a").build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misuse);
}

#[test]
fn a_topology_is_a_source_that_can_be_shared() {
    fn shared<T: TxSource<Postgres> + Clone>() {}
    shared::<Topology>();
}

#[tokio::test]
async fn one_database_under_two_names_is_refused_by_both_shards() {
    let (a, b) = (shared().await, shared().await);
    // A role that owns nothing: what is asked needs no privilege.
    let role = format!("plain_{}", a.name());
    let owner = a.pool(1).await;
    for statement in
        [format!("create role {role} login"), format!("grant connect on database {} to {role}", a.name())]
    {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&owner).await.unwrap();
    }
    let by_name = a.url().replace("127.0.0.1", "localhost");
    assert_ne!(by_name, a.url());
    let by_role = a.url().replace("postgres@127.0.0.1", &format!("{role}@localhost"));
    for other in [by_name, by_role] {
        let both = builder(&["s0", "s1"]).with_url("s0", a.url()).with_url("s1", other).build().unwrap();
        let error = both.check_distinct().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("\"s0\" and \"s1\" are one database"), "{error}");
        assert!(!error.to_string().contains("postgres:"), "{error}");
    }
    // Two databases of one server are two, and one that is shared on purpose is one.
    let two =
        builder(&["s0", "s1", "s2"]).with_url("s0", a.url()).with_url("s1", b.url()).with_url("s2", a.url());
    two.build().unwrap().check_distinct().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop owned by {role}; drop role {role}")))
        .execute(&owner)
        .await
        .unwrap();
}
