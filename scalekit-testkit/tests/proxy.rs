//! The proxy counts exactly, and does to connections what it is told.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::time::{Duration, Instant};

use redis::{AsyncCommands, aio::MultiplexedConnection};
use scalekit_testkit::{Postgres, Proxy, Redis, at_once};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn redis_through(proxy: &Proxy) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{}", proxy.addr())).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn ping(connection: &mut MultiplexedConnection) {
    assert_eq!(connection.ping::<String>().await.unwrap(), "PONG");
}

/// Answers every chunk with the same bytes.
async fn echo_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    addr
}

#[tokio::test]
async fn redis_commands_are_one_round_trip_each_and_a_pipeline_is_one() {
    let server = Redis::start().await;
    let proxy = Proxy::to(server.addr()).await;
    let mut connection = redis_through(&proxy).await;
    ping(&mut connection).await;
    proxy.reset();
    ping(&mut connection).await;
    assert_eq!(proxy.round_trips(), 1);
    // The bytes of `PING` and `PONG` on the wire.
    assert_eq!((proxy.bytes_up(), proxy.bytes_down()), (14, 7));
    for n in 0..100 {
        let () = connection.set("k", n).await.unwrap();
    }
    assert_eq!(proxy.round_trips(), 101);
    proxy.reset();
    let mut pipeline = redis::pipe();
    (0..100).for_each(|n| {
        pipeline.set("k", n).ignore();
    });
    let () = pipeline.query_async(&mut connection).await.unwrap();
    assert_eq!(proxy.round_trips(), 1);
    assert_eq!((proxy.connections(), proxy.open_connections()), (0, 1));
}

#[tokio::test]
async fn postgres_statements_are_counted() {
    let database = Postgres::shared().await.database().await;
    let proxy = Proxy::to(Postgres::shared().await.addr()).await;
    let mut connection = PgConnection::connect(&database.url_via(proxy.addr())).await.unwrap();
    proxy.reset();
    sqlx::raw_sql("select 1").execute(&mut connection).await.unwrap();
    assert_eq!(proxy.round_trips(), 1, "a simple query");
    sqlx::raw_sql("select 1; select 2; select 3").execute(&mut connection).await.unwrap();
    assert_eq!(proxy.round_trips(), 2, "many statements in one simple query");
    proxy.reset();
    for _ in 0..2 {
        let n: i32 = sqlx::query_scalar("select $1").bind(1).fetch_one(&mut connection).await.unwrap();
        assert_eq!(n, 1);
    }
    assert_eq!(proxy.round_trips(), 3, "to prepare, to run, to run again");
    proxy.reset();
    connection.close().await.unwrap();
    assert_eq!(proxy.round_trips(), 0, "a farewell is not answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn round_trips_of_many_connections_add_up() {
    let target = echo_server().await;
    let proxy = Proxy::to(target).await;
    let addr = proxy.addr();
    at_once(20, |i| async move {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        for _ in 0..=i {
            socket.write_all(b"x").await.unwrap();
            assert_eq!(socket.read_u8().await.unwrap(), b'x');
        }
    })
    .await;
    assert_eq!(proxy.round_trips(), (1..=20).sum::<u64>());
    assert_eq!((proxy.connections(), proxy.bytes_up(), proxy.bytes_down()), (20, 210, 210));
}

#[tokio::test]
async fn a_burst_in_many_packets_is_one_round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    for _ in 0..3 {
        // Each byte has arrived before the next is sent: they are separate packets.
        client.write_all(b"q").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'q');
    }
    for _ in 0..3 {
        server.write_all(b"a").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'a');
    }
    assert_eq!(proxy.round_trips(), 1);
}

#[tokio::test]
async fn a_delay_is_paid_in_each_direction_and_keeps_the_order() {
    let proxy = Proxy::to(echo_server().await).await;
    let mut socket = TcpStream::connect(proxy.addr()).await.unwrap();
    let delay = Duration::from_millis(60);
    proxy.set_delay(delay);
    let start = Instant::now();
    socket.write_all(b"late").await.unwrap();
    let mut answer = [0; 4];
    socket.read_exact(&mut answer).await.unwrap();
    assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
    socket.write_all(b"first").await.unwrap();
    proxy.set_delay(Duration::ZERO);
    socket.write_all(b"second").await.unwrap();
    let mut answer = [0; 11];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"firstsecond");
}

#[tokio::test]
async fn a_cut_resets_and_refuses_until_it_is_healed() {
    let proxy = Proxy::to(echo_server().await).await;
    let mut socket = TcpStream::connect(proxy.addr()).await.unwrap();
    socket.write_all(b"x").await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'x');
    proxy.cut().await;
    let error = socket.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let refused = TcpStream::connect(proxy.addr()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(proxy.open_connections(), 0);
    proxy.heal().await;
    let mut socket = TcpStream::connect(proxy.addr()).await.unwrap();
    socket.write_all(b"y").await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'y');
}

#[tokio::test]
async fn a_black_hole_swallows_old_and_new_connections_until_it_is_healed() {
    let server = Redis::start().await;
    let proxy = Proxy::to(server.addr()).await;
    let mut old = redis_through(&proxy).await;
    proxy.blackhole().await;
    server.reset_commandstats().await;
    let mut new = TcpStream::connect(proxy.addr()).await.unwrap();
    new.write_all(b"PING\r\n").await.unwrap();
    let limit = Duration::from_millis(100);
    assert!(tokio::time::timeout(limit, new.read_u8()).await.is_err());
    assert!(tokio::time::timeout(limit, old.ping::<String>()).await.is_err());
    assert!(server.commandstats().await.is_empty(), "nothing reached the server");
    proxy.heal().await;
    assert!(new.read_u8().await.is_err());
    assert!(old.ping::<String>().await.is_err());
    ping(&mut redis_through(&proxy).await).await;
}

#[tokio::test]
async fn a_server_that_is_down_is_an_error_at_once_and_half_closed_connections_are_carried() {
    let server = Redis::start().await;
    let proxy = Proxy::to(server.addr()).await;
    let mut connection = redis_through(&proxy).await;
    server.kill().await;
    assert!(connection.ping::<String>().await.is_err());
    // The reset may come before the client even knows that it is connected.
    let answer = async { TcpStream::connect(proxy.addr()).await?.read_u8().await };
    assert_eq!(answer.await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);

    let proxy = Proxy::to(echo_server().await).await;
    let mut socket = TcpStream::connect(proxy.addr()).await.unwrap();
    let sent = vec![7; 3_000_000];
    let (mut read, mut write) = socket.split();
    let send = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, done) = tokio::join!(send, read.read_to_end(&mut received));
    done.unwrap();
    assert!(received == sent, "{} of {} bytes came back", received.len(), sent.len());
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_real_time_even_if_the_tests_clock_stands_still() {
    let proxy = Proxy::to(echo_server().await).await;
    let delay = Duration::from_millis(30);
    proxy.set_delay(delay);
    let start = Instant::now();
    let mut socket = TcpStream::connect(proxy.addr()).await.unwrap();
    socket.write_all(b"x").await.unwrap();
    assert_eq!(socket.read_u8().await.unwrap(), b'x');
    assert!(start.elapsed() >= 2 * delay, "{:?}", start.elapsed());
}
