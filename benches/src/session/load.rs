//! What a session adds to a server's CPU: each service in a process of its own, over HTTP, under the load of `wrk`.

use std::{net::SocketAddr, process::Stdio};

use scalekit_testkit::{Program, RedisServer, Running};
use tokio::process::Command;

use super::{Service, bare, begin};
use crate::duel::{median, table};

/// The argument that makes this program a server.
pub(super) const SERVE: &str = "serve";
const WORKERS: usize = 2;
const CONNECTIONS: usize = 64;
const SECONDS: u32 = 3;
const ROUNDS: usize = 5;
/// What a request does; each is a route.
const USES: [(&str, &str); 3] =
    [("/untouched", "session ignored"), ("/read", "sliding read of 1 KB"), ("/count", "counter + 1")];

/// Serves until it is killed; tells the cookie of a session, then where it listens.
pub(super) fn serve(make: impl Future<Output = Service>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    runtime.unwrap().block_on(async {
        let service = make.await;
        if service.name != bare().name {
            println!("cookie {}", begin(&service, "/sign-in", None).await);
        }
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("listening on http://{}", listener.local_addr().unwrap());
        axum::serve(listener, service.app).await.unwrap();
    });
}

/// Measures the bare handler and these services, by the words and the names of their makers.
pub(super) async fn measure(redis: &RedisServer, services: &[(&str, &str)]) {
    // Whatever the other tables left behind.
    redis.flushall().await;
    let bare = Server::start("bare", bare().name, redis.addr()).await;
    let mut servers = Vec::new();
    for (word, name) in services {
        servers.push(Server::start(word, name, redis.addr()).await);
    }
    for (path, what) in USES {
        let mut rounds = Vec::new();
        // The first round is not counted.
        for round in 0..=ROUNDS {
            let seconds = if round == 0 { 1 } else { SECONDS };
            let mut runs = vec![bare.load("/untouched", seconds).await];
            for turn in 0..servers.len() {
                // Each round begins with another one, so that none always runs after the same.
                let at = (turn + round) % servers.len();
                runs.push(servers[at].load(path, seconds).await);
            }
            let turned = servers.len() - round % servers.len();
            runs[1..].rotate_left(turned % servers.len());
            if round > 0 {
                rounds.push(runs);
            }
        }
        print(what, [&bare].into_iter().chain(&servers), &rounds);
    }
}

fn print<'a>(what: &str, servers: impl Iterator<Item = &'a Server>, rounds: &[Vec<Run>]) {
    let mut rows = Vec::new();
    for (at, server) in servers.enumerate() {
        let each = |of: &dyn Fn(&[Run]) -> f64| median(rounds.iter().map(|round| of(round)).collect());
        let added = |runs: &[Run], at: usize| runs[at].cpu_micros - runs[0].cpu_micros;
        // The bare handler adds nothing; without a peer there is nothing to compare with.
        let peer = rounds[0].len() > 2 && at > 0;
        rows.push(vec![
            server.name.clone(),
            format!("{:.1}", each(&|runs| runs[at].cpu_micros)),
            if at == 0 { String::new() } else { format!("**{:.1}**", each(&|runs| added(runs, at))) },
            if peer {
                format!("{:.2}", each(&|runs| added(runs, at) / added(runs, 2)))
            } else {
                String::new()
            },
            format!("{:.0}", each(&|runs| runs[at].per_second)),
            format!("{:.2} ms", each(&|runs| runs[at].p50_ms)),
            format!("{:.2} ms", each(&|runs| runs[at].p99_ms)),
        ]);
    }
    let title = format!(
        "{}: user and system CPU of the server, {CONNECTIONS} connections of wrk, medians of {ROUNDS} rounds of {SECONDS} s",
        what[..1].to_uppercase() + &what[1..]
    );
    let second = rows.get(2).map_or(String::new(), |row| format!("added, {} = 1", row[0]));
    let columns = ["", "µs per request", "added to bare, µs", &second, "requests/s", "p50", "p99"];
    table(&title, &columns, &rows);
}

/// A process that serves.
struct Server {
    name: String,
    process: Running,
    url: String,
    cookie: Option<String>,
}

/// What one round of load has shown.
struct Run {
    cpu_micros: f64,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Server {
    async fn start(word: &str, name: &str, redis: SocketAddr) -> Self {
        let program = Program::new(std::env::current_exe().unwrap());
        let mut process = program.args([SERVE.to_owned(), word.to_owned(), redis.to_string()]).start();
        let cookie = match word {
            "bare" => None,
            _ => Some(process.wait_line("cookie ").await.replacen("cookie ", "Cookie: ", 1)),
        };
        let url = process.wait_listening().await;
        Self { name: name.to_owned(), process, url, cookie }
    }

    async fn load(&self, path: &str, seconds: u32) -> Run {
        let mut wrk = Command::new("wrk");
        wrk.args(["--latency", "-t", "1", "-c", &CONNECTIONS.to_string(), "-d", &format!("{seconds}s")]);
        if let Some(cookie) = &self.cookie {
            wrk.args(["-H", cookie]);
        }
        wrk.arg(format!("{}{path}", self.url)).stdin(Stdio::null()).kill_on_drop(true);
        let before = self.cpu_seconds();
        let output =
            wrk.output().await.unwrap_or_else(|e| panic!("wrk ({e}): install it with apt-get install wrk"));
        let cpu = self.cpu_seconds() - before;
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = said.contains("Non-2xx") || said.contains("Socket errors") || !output.status.success();
        assert!(!failed, "{} {path}: {said}{}", self.name, String::from_utf8_lossy(&output.stderr));
        let word_before = |mark: &str| said.split(mark).next().unwrap().split_whitespace().last().unwrap();
        let word_after = |mark: &str| {
            let rest = said.split_once(mark).unwrap_or_else(|| panic!("wrk has not told {mark:?}: {said}")).1;
            rest.split_whitespace().next().unwrap()
        };
        let requests: f64 = word_before(" requests in ").parse().unwrap();
        Run {
            cpu_micros: cpu * 1e6 / requests,
            per_second: word_after("Requests/sec:").parse().unwrap(),
            p50_ms: milliseconds(word_after(" 50% ")),
            p99_ms: milliseconds(word_after(" 99% ")),
        }
    }

    /// User and system time of all its threads.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid())).unwrap();
        // After the name, which stands in parentheses: fields 14 and 15 of proc(5).
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let ticks: f64 = rest.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap()).sum();
        ticks / rustix::param::clock_ticks_per_second() as f64
    }
}

/// A time as wrk prints it.
fn milliseconds(text: &str) -> f64 {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let factor = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => panic!("what unit has {text:?}?"),
    };
    text.trim_end_matches(unit).parse::<f64>().unwrap() * factor
}
