//! Servers that belong together: a replica, a PgBouncer, a Redis Cluster; and NATS.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::{collections::BTreeSet, time::Duration};

use scalekit_testkit::{Nats, PgBouncer, Postgres, Redis, at_once, wait_until};
use sqlx::{Connection, Executor, PgConnection};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const LIMIT: Duration = Duration::from_secs(20);

async fn count(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from t").fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_replica_follows_is_held_back_catches_up_and_is_promoted() {
    let primary = Postgres::start().await;
    let database = primary.database().await;
    let mut write = PgConnection::connect(&database.url()).await.unwrap();
    write.execute("create table t as select 1 as n").await.unwrap();
    let replica = primary.replica().await;
    let mut read = PgConnection::connect(&database.url_via(replica.addr())).await.unwrap();
    assert_eq!(count(&mut read).await, 1);
    let refused = read.execute("insert into t values (2)").await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "25006");

    replica.pause_replay().await;
    write.execute("insert into t values (2)").await.unwrap();
    assert_eq!(count(&mut read).await, 1);
    replica.resume_replay().await;
    let until = async |n: i64| {
        let caught_up = || async {
            let mut read = PgConnection::connect(&database.url_via(replica.addr())).await.unwrap();
            count(&mut read).await == n
        };
        wait_until("the replica shows all rows", LIMIT, caught_up).await;
    };
    until(2).await;

    replica.restart().await;
    write.execute("insert into t values (3)").await.unwrap();
    until(3).await;

    primary.kill().await;
    replica.promote().await;
    let mut write = PgConnection::connect(&database.url_via(replica.addr())).await.unwrap();
    write.execute("insert into t values (4)").await.unwrap();
    assert_eq!(count(&mut write).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbouncer_shares_few_server_connections_between_many_clients() {
    let server = Postgres::shared().await;
    let bouncer = PgBouncer::builder().setting("default_pool_size", "2").start(server).await;
    let database = server.database().await;
    let url = bouncer.url(&database);
    let backends: BTreeSet<i32> = at_once(20, |_| {
        let url = url.clone();
        async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let mut tx = connection.begin().await.unwrap();
            let sql = "select pg_backend_pid()";
            let pid: i32 = sqlx::query_scalar(sql).persistent(false).fetch_one(&mut *tx).await.unwrap();
            tx.commit().await.unwrap();
            pid
        }
    })
    .await
    .into_iter()
    .collect();
    assert!((1..=2).contains(&backends.len()), "{backends:?}");
    bouncer.kill().await;
    assert!(PgConnection::connect(&url).await.is_err());
    bouncer.restart().await;
    PgConnection::connect(&url).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_cluster_serves_every_slot_and_notices_a_dead_node() {
    let cluster = Redis::cluster(3).await;
    assert_eq!(cluster.urls().len(), 3);
    let client = redis::Client::open(cluster.urls()[0].as_str()).unwrap();
    let mut first = client.get_multiplexed_async_connection().await.unwrap();
    let slots: Vec<(u32, u32, redis::Value)> =
        redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut first).await.unwrap();
    let mut ranges: Vec<(u32, u32)> = slots.into_iter().map(|(from, to, _)| (from, to)).collect();
    ranges.sort_unstable();
    assert_eq!(ranges, [(0, 5_460), (5_461, 10_921), (10_922, 16_383)]);
    // "foo" is in slot 12182, the third node's.
    let moved = redis::cmd("GET").arg("foo").query_async::<Option<String>>(&mut first).await.unwrap_err();
    assert_eq!(moved.redirect_node().unwrap(), (&*cluster.nodes()[2].addr().to_string(), 12_182));

    cluster.nodes()[2].kill().await;
    let dead = async |slots: u16| {
        let mut first = first.clone();
        let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut first).await.unwrap();
        // The slots of the others are served all the time.
        assert!(info.contains("cluster_state:ok\r"), "{info}");
        info.contains(&format!("cluster_slots_fail:{slots}\r"))
    };
    wait_until("the dead node is noticed", LIMIT, || dead(5_462)).await;
    cluster.nodes()[2].restart().await;
    wait_until("the node is back", LIMIT, || dead(0)).await;
}

#[tokio::test]
async fn nats_serves_with_jetstream_and_survives_a_restart() {
    let nats = Nats::start().await;
    let greeting = async || {
        let mut lines = BufReader::new(TcpStream::connect(nats.addr()).await.unwrap()).lines();
        let info = lines.next_line().await.unwrap().unwrap();
        lines.get_mut().write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").await.unwrap();
        (info, lines.next_line().await.unwrap().unwrap())
    };
    let (info, pong) = greeting().await;
    assert!(info.starts_with("INFO ") && info.contains("\"jetstream\":true"), "{info}");
    assert_eq!(pong, "PONG");
    nats.kill().await;
    assert!(TcpStream::connect(nats.addr()).await.is_err());
    nats.restart().await;
    assert_eq!(greeting().await.1, "PONG");
}
