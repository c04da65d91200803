//! What requests ask of Redis: round trips, bytes, commands; and how long the arguments of a small change are.

use std::collections::BTreeMap;

use http::header;
use scalekit_testkit::{Proxy, RedisServer};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{Service, begin};
use crate::{app, duel::table};

const REQUESTS: u64 = 500;
/// What is told is for so many: each request asks the same.
const TOLD: u64 = 10_000;
/// What a request does; each is a route.
const USES: [(&str, &str); 4] = [
    ("/untouched", "session ignored"),
    ("/read", "read"),
    ("/count", "counter + 1"),
    ("/change", "write by a closure"),
];
/// All arguments of a counter's update together, by their lengths.
const COUNT_BYTES: usize = 200;

/// Counts each use of the session for each service behind the proxy.
pub(super) async fn count(redis: &RedisServer, proxy: &Proxy, services: &[Service]) {
    let mut rows = Vec::new();
    for (path, what) in USES {
        for service in services {
            let (mut app, make) =
                (service.app.clone(), app::get(path, Some(begin(service, "/sign-in", None).await)));
            // Before: a script is loaded, a connection opened, the list of the closure is as long as it gets.
            for _ in 0..20 {
                app::send(&mut app, make()).await;
            }
            redis.reset_commandstats().await;
            proxy.reset();
            let mut cookies = 0;
            for _ in 0..REQUESTS {
                let answer = app::send(&mut app, make()).await;
                assert!(answer.head.status.is_success(), "{}: {:?}", service.name, answer.head);
                cookies += u64::from(answer.head.headers.contains_key(header::SET_COOKIE));
            }
            rows.push(vec![
                what.to_owned(),
                service.name.to_owned(),
                format!("**{}**", told(proxy.round_trips())),
                told(proxy.bytes_up()),
                told(proxy.bytes_down()),
                listed(&redis.commandstats().await),
                told(cookies),
            ]);
        }
    }
    let title = "What 10,000 requests, one after the other, with a session of 1 KB ask of Redis";
    let columns = [
        "",
        "",
        "round trips",
        "bytes to Redis",
        "bytes from Redis",
        "commands, those of scripts too",
        "Set-Cookie",
    ];
    table(title, &columns, &rows);

    let mut rows = Vec::new();
    for service in services {
        let commands = heard(redis, service).await;
        let longest = commands.iter().max_by_key(|(_, bytes)| *bytes).unwrap();
        assert!(!service.ours || longest.1 <= COUNT_BYTES, "{}: {commands:?}", service.name);
        let all: Vec<_> = commands.iter().map(|(name, bytes)| format!("`{name}` {bytes}")).collect();
        rows.push(vec![service.name.to_owned(), all.join(", "), format!("**{}**", longest.1)]);
    }
    let title = "Bytes of the arguments that a counter + 1 sends, without the protocol's own";
    table(title, &["", "commands", "longest"], &rows);
}

/// A count of the requests made, for as many as are told.
fn told(count: u64) -> String {
    (count * TOLD / REQUESTS).to_string()
}

/// The commands by how often they ran.
fn listed(commands: &BTreeMap<String, u64>) -> String {
    // A connection that a pool opens meanwhile.
    let set_up = |name: &str| name.starts_with("client|") || ["hello", "select"].contains(&name);
    let mut all: Vec<_> = commands.iter().filter(|(name, _)| !set_up(name)).collect();
    all.sort_by_key(|(name, calls)| (std::cmp::Reverse(**calls), name.as_str()));
    let all: Vec<_> = all.iter().map(|(name, calls)| format!("`{name}` {}", told(**calls))).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// The commands of one counter's update, with the lengths of all their arguments and names.
async fn heard(redis: &RedisServer, service: &Service) -> Vec<(String, usize)> {
    let (mut app, make) =
        (service.app.clone(), app::get("/count", Some(begin(service, "/sign-in", None).await)));
    app::send(&mut app, make()).await;
    let mut ear = BufReader::new(TcpStream::connect(redis.addr()).await.unwrap());
    ear.write_all(b"MONITOR\r\n").await.unwrap();
    let mut line = String::new();
    ear.read_line(&mut line).await.unwrap();
    assert_eq!(line, "+OK\r\n");
    app::send(&mut app, make()).await;
    // What a connection of its own sends after the answer comes after all that the answer took.
    let mut last = TcpStream::connect(redis.addr()).await.unwrap();
    last.write_all(b"ECHO over\r\n").await.unwrap();
    let mut heard = Vec::new();
    loop {
        line.clear();
        ear.read_line(&mut line).await.unwrap();
        // `+1700000000.000000 [0 127.0.0.1:5000] "GET" "key"`; a script's own say `lua` in place of the address.
        let (from, command) = line.trim_end().split_once("] ").unwrap();
        if command.contains("\"over\"") {
            return heard;
        }
        if !from.ends_with(" lua") {
            let all: Vec<_> = command.trim_matches('"').split("\" \"").collect();
            heard.push((all[0].to_lowercase(), all.iter().map(|one| unescaped(one)).sum()));
        }
    }
}

/// How many bytes an argument has that MONITOR prints with escapes.
fn unescaped(text: &str) -> usize {
    let (mut bytes, mut rest) = (0, text.as_bytes());
    while let Some(first) = rest.first() {
        let taken = match (first, rest.get(1)) {
            (b'\\', Some(b'x')) => 4,
            (b'\\', _) => 2,
            _ => 1,
        };
        rest = &rest[taken..];
        bytes += 1;
    }
    bytes
}
