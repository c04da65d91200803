//! Private Redis servers start ready, survive what tests do to them, and show what they hold.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::{process::Command, time::Duration};

use redis::{AsyncCommands, RedisError, aio::MultiplexedConnection};
use scalekit_testkit::{Redis, RedisServer};

async fn connect(url: String) -> Result<MultiplexedConnection, RedisError> {
    redis::Client::open(url)?.get_multiplexed_async_connection().await
}

async fn write(server: &RedisServer) {
    let () = connect(server.url()).await.unwrap().set("k", "v").await.unwrap();
}

#[tokio::test]
async fn without_persistence_a_restart_forgets() {
    let server = Redis::start().await;
    write(&server).await;
    assert_eq!(server.keys().await, ["k"]);
    let (port, pid) = (server.port(), server.pid());
    server.kill().await;
    assert!(connect(server.url()).await.is_err());
    server.restart().await;
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert!(server.keys().await.is_empty());
}

#[tokio::test]
async fn with_appendonly_always_a_kill_loses_nothing() {
    let server = Redis::builder().appendonly_always().start().await;
    write(&server).await;
    server.kill().await;
    server.restart().await;
    assert_eq!(server.keys().await, ["k"]);
}

#[tokio::test]
async fn a_paused_server_accepts_but_does_not_answer_until_it_is_resumed() {
    let server = Redis::start().await;
    let mut connection = connect(server.url()).await.unwrap();
    server.pause().await;
    let ping = tokio::spawn(async move { connection.ping::<String>().await });
    let accepted = tokio::net::TcpStream::connect(("127.0.0.1", server.port())).await;
    assert!(accepted.is_ok());
    let mut ping = ping;
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut ping).await.is_err());
    server.resume();
    // The connection's own time-out is longer than the pause.
    assert_eq!(ping.await.unwrap().unwrap(), "PONG");
}

#[tokio::test]
async fn a_paused_server_can_be_killed_and_restarted() {
    let server = Redis::start().await;
    server.pause().await;
    server.restart().await;
    write(&server).await;
}

#[tokio::test]
async fn commandstats_count_each_command() {
    let server = Redis::start().await;
    let mut connection = connect(server.url()).await.unwrap();
    server.reset_commandstats().await;
    for _ in 0..3 {
        let _: Option<String> = connection.get("k").await.unwrap();
    }
    let () = connection.set("k", "v").await.unwrap();
    let stats = server.commandstats().await;
    let stats: Vec<(&str, u64)> = stats.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(stats, [("get", 3), ("set", 1)]);
}

#[tokio::test]
async fn script_flush_forgets_scripts_and_flushall_forgets_keys() {
    let server = Redis::start().await;
    let mut connection = connect(server.url()).await.unwrap();
    let hash: String =
        redis::cmd("SCRIPT").arg("LOAD").arg("return 1").query_async(&mut connection).await.unwrap();
    write(&server).await;
    server.script_flush().await;
    server.flushall().await;
    let exists: Vec<bool> =
        redis::cmd("SCRIPT").arg("EXISTS").arg(hash).query_async(&mut connection).await.unwrap();
    assert_eq!(exists, [false]);
    assert!(server.keys().await.is_empty());
}

#[tokio::test]
async fn a_dump_holds_keys_and_values_of_every_type_and_database() {
    let server = Redis::start().await;
    let mut connection = connect(server.url()).await.unwrap();
    // Redis would compress this in a DUMP.
    let long = "long-secret-".repeat(1_000);
    let script = r"
        redis.call('SET', 'key-1', ARGV[1])
        redis.call('HSET', 'h', 'field-2', 'value-2')
        redis.call('RPUSH', 'l', 'value-3')
        redis.call('SADD', 's', 'value-4')
        redis.call('ZADD', 'z', 5, 'value-5')
        redis.call('XADD', 'x', '1-1', 'field-6', 'value-6')
        redis.call('XGROUP', 'CREATE', 'x', 'group-6', '0')
        redis.call('XREADGROUP', 'GROUP', 'group-6', 'consumer-6', 'STREAMS', 'x', '>')
        redis.call('SELECT', 7)
        redis.call('SET', 'key-7', 'value-7')
    ";
    let () = redis::Script::new(script).arg(&long).invoke_async(&mut connection).await.unwrap();
    let dump = String::from_utf8(server.dump_everything().await).unwrap();
    let expected = [
        "key-1",
        &long,
        "field-2",
        "value-2",
        "value-3",
        "value-4",
        "value-5",
        "field-6",
        "value-6",
        "group-6",
        "consumer-6",
        "key-7",
        "value-7",
    ];
    for text in expected {
        assert!(dump.contains(text), "{text} is missing in:\n{dump}");
    }
}

#[tokio::test]
async fn acl_users_may_do_what_their_rules_say() {
    let server = Redis::builder()
        .acl_user("app", "pw", "~app:* &* +@all -@dangerous")
        .default_user_off()
        .start()
        .await;
    let anonymous: Result<(), RedisError> = connect(server.url()).await.unwrap().set("app:1", 1).await;
    assert_eq!(anonymous.unwrap_err().code(), Some("NOAUTH"));
    let mut app = connect(server.url_as("app")).await.unwrap();
    let () = app.set("app:1", 1).await.unwrap();
    let refused: Result<(), RedisError> = app.set("other", 1).await;
    assert_eq!(refused.unwrap_err().code(), Some("NOPERM"));
    assert_eq!(server.keys().await, ["app:1"]);
}

#[tokio::test]
async fn tls_is_served_with_a_certificate_that_the_authority_signed() {
    let server = Redis::builder().tls().start().await;
    assert!(server.url().starts_with("rediss://127.0.0.1:"));
    let ca = std::env::temp_dir().join(format!("scalekit-testkit-ca-{}.pem", server.port()));
    std::fs::write(&ca, server.ca_pem()).unwrap();
    let ping = |with_ca: bool| {
        let mut cli = Command::new("redis-cli");
        cli.args(["--tls", "-h", "127.0.0.1", "-p", &server.port().to_string()]);
        if with_ca {
            cli.arg("--cacert").arg(&ca);
        }
        let out = cli.arg("PING").output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let (trusted, untrusted) = (ping(true), ping(false));
    std::fs::remove_file(&ca).unwrap();
    assert_eq!(trusted.trim(), "PONG");
    assert_eq!(untrusted.trim(), "");
    assert!(server.keys().await.is_empty());
}
