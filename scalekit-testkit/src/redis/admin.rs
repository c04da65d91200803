//! The kit's own commands to a Redis server, over its Unix socket.
use std::collections::BTreeMap;

use redis::{
    Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, Value, aio::MultiplexedConnection, cmd,
};

use super::server::RedisServer;

/// Runs the command and returns its answer as text.
pub(super) async fn run(server: &RedisServer, command: &Cmd) -> String {
    let answer = query(&mut connect(server, 0).await, command).await;
    String::from_utf8_lossy(&flat(&answer)).into_owned()
}

pub(super) async fn flushall(server: &RedisServer) {
    run(server, cmd("FLUSHALL").arg("SYNC")).await;
}

pub(super) async fn script_flush(server: &RedisServer) {
    run(server, cmd("SCRIPT").arg("FLUSH").arg("SYNC")).await;
}

pub(super) async fn reset_commandstats(server: &RedisServer) {
    run(server, cmd("CONFIG").arg("RESETSTAT")).await;
}

pub(super) async fn commandstats(server: &RedisServer) -> BTreeMap<String, u64> {
    let text = run(server, cmd("INFO").arg("commandstats")).await;
    // A line is `cmdstat_get:calls=3,usec=..`.
    let count = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    let own = ["info", "auth", "config|resetstat"];
    text.lines().filter_map(count).filter(|(name, _)| !own.contains(&name.as_str())).collect()
}

pub(super) async fn keys(server: &RedisServer) -> Vec<String> {
    let keys = all_keys(&mut connect(server, 0).await).await;
    let mut keys: Vec<String> = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
    keys.sort_unstable();
    keys
}

pub(super) async fn dump_everything(server: &RedisServer) -> Vec<u8> {
    let mut out = Vec::new();
    for db in databases(server).await {
        let connection = &mut connect(server, db).await;
        for key in all_keys(connection).await {
            out.extend_from_slice(&key);
            out.push(b'\n');
            let kind = flat(&query(connection, cmd("TYPE").arg(&key)).await);
            for read in reads(kind.trim_ascii(), &key) {
                out.extend(flat(&query(connection, &read).await));
            }
        }
    }
    out
}

/// The commands that read all of a value. Not DUMP: what that returns is compressed.
fn reads(kind: &[u8], key: &[u8]) -> Vec<Cmd> {
    let with = |name: &str, args: &[&str]| {
        let mut command = cmd(name);
        command.arg(key);
        args.iter().for_each(|arg| {
            command.arg(*arg);
        });
        command
    };
    match kind {
        b"string" => vec![with("GET", &[])],
        b"hash" => vec![with("HGETALL", &[])],
        b"list" => vec![with("LRANGE", &["0", "-1"])],
        b"set" => vec![with("SMEMBERS", &[])],
        b"zset" => vec![with("ZRANGE", &["0", "-1", "WITHSCORES"])],
        b"stream" => {
            let mut groups = cmd("XINFO");
            groups.arg("STREAM").arg(key).arg("FULL").arg("COUNT").arg("0");
            vec![with("XRANGE", &["-", "+"]), groups]
        }
        // The key expired since it was listed.
        b"none" => Vec::new(),
        other => panic!("cannot dump a value of type {}", String::from_utf8_lossy(other)),
    }
}

/// The numbers of the databases that hold keys.
async fn databases(server: &RedisServer) -> Vec<i64> {
    let text = run(server, cmd("INFO").arg("keyspace")).await;
    text.lines().filter_map(|l| l.strip_prefix("db")?.split(':').next()?.parse().ok()).collect()
}

async fn all_keys(connection: &mut MultiplexedConnection) -> Vec<Vec<u8>> {
    let mut keys = std::collections::BTreeSet::new();
    let mut cursor = 0_u64;
    loop {
        let page = cmd("SCAN").arg(cursor).arg("COUNT").arg(1_000).query_async(connection).await;
        let (next, found): (u64, Vec<Vec<u8>>) = page.unwrap_or_else(|e| panic!("SCAN: {e}"));
        // SCAN may return a key twice.
        keys.extend(found);
        cursor = next;
        if cursor == 0 {
            return keys.into_iter().collect();
        }
    }
}

async fn connect(server: &RedisServer, db: i64) -> MultiplexedConnection {
    let settings = RedisConnectionInfo::default()
        .set_username(RedisServer::ADMIN)
        .set_password(&server.admin_password)
        .set_db(db)
        .set_skip_set_lib_name();
    let addr = ConnectionAddr::Unix(server.socket.clone());
    let info = addr.into_connection_info().map(|info| info.set_redis_settings(settings));
    let client = info.and_then(redis::Client::open).unwrap_or_else(|e| panic!("redis: {e}"));
    let connection = client.get_multiplexed_async_connection().await;
    connection.unwrap_or_else(|e| panic!("cannot connect to the private Redis: {e}\n{}", server.log_tail()))
}

async fn query(connection: &mut MultiplexedConnection, command: &Cmd) -> Value {
    command.query_async(connection).await.unwrap_or_else(|e| panic!("Redis refuses the kit's command: {e}"))
}

/// All bytes of an answer, one string a line.
fn flat(value: &Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => [bytes.as_slice(), b"\n"].concat(),
        Value::SimpleString(text) => format!("{text}\n").into_bytes(),
        Value::Int(number) => format!("{number}\n").into_bytes(),
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        _ => Vec::new(),
    }
}
