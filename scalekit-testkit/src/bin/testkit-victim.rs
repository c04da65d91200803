//! A program for the kit's own tests: it holds servers and is killed, or it does what a program under test does.
use std::{io::BufRead, process::Command};

use scalekit_testkit::{Postgres, Program, Redis};

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("servers") => servers(args.next().as_deref() == Some("paused")).await,
        Some("fail") => fail().await,
        Some("bad-setting") => {
            Postgres::builder().setting("no_such_setting", "1").start().await;
        }
        Some("child") => child(),
        Some("echo") => echo(),
        Some("work") => work(),
        Some("exit") => std::process::exit(args.next().and_then(|code| code.parse().ok()).unwrap_or(1)),
        other => panic!("unknown mode {other:?}"),
    }
}

/// Holds a Redis, a Postgres with open connections, and a program; prints their pids.
async fn servers(paused: bool) {
    let redis = Redis::start().await;
    let postgres = Postgres::start().await;
    let _pool = postgres.database().await.pool(2).await;
    let program = myself().arg("echo").start();
    if paused {
        redis.pause().await;
        postgres.pause().await;
        program.signal("STOP");
    }
    println!("pids {} {} {}", redis.pid(), postgres.pid(), program.pid());
    until_stdin_closes();
}

/// Panics while servers and a program run.
async fn fail() {
    let _redis = Redis::start().await;
    let postgres = Postgres::start().await;
    let _database = postgres.database().await;
    let mut program = myself().arg("echo").start();
    program.wait_listening().await;
    panic!("as asked");
}

/// Holds one child program.
fn child() {
    let program = myself().arg("echo").start();
    println!("pids {}", program.pid());
    until_stdin_closes();
}

/// Says where it listens, then answers each line.
fn echo() {
    eprintln!("a line on stderr");
    println!("listening on http://127.0.0.1:12345");
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        println!("noise");
        println!("done {line}");
    }
}

/// Dies at its failpoint, if that is armed.
fn work() {
    println!("claimed");
    if std::env::var("SCALEKIT_FAILPOINT").is_ok_and(|name| name == "after-claim") {
        let me = std::process::id().to_string();
        let _ = Command::new("sh").args(["-c", "kill -9 $1", "sh", &me]).status();
    }
    println!("finished");
}

fn myself() -> Program {
    Program::new(std::env::current_exe().unwrap_or_else(|e| panic!("{e}")))
}

fn until_stdin_closes() {
    std::io::stdin().lock().lines().map_while(Result::ok).for_each(drop);
}
