//! Nothing is left behind, however the test process ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use scalekit_testkit::{Postgres, Program, Redis, Running, wait_until};

const LIMIT: Duration = Duration::from_secs(20);

fn victim() -> Program {
    Program::new(env!("CARGO_BIN_EXE_testkit-victim"))
}

/// Not there, or a zombie that only waits for init.
fn gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit_once(") ").unwrap().1.starts_with('Z')
}

fn children(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let parent = format!("PPid:\t{pid}\n");
    let child = |p: &u32| fs::read_to_string(format!("/proc/{p}/status")).is_ok_and(|s| s.contains(&parent));
    all.filter(child).collect()
}

/// The directory of the victim's run.
fn run_dir(victim: &Running) -> PathBuf {
    let uid = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap());
    let runs = std::env::temp_dir().join(format!("scalekit-testkit-{uid}")).join("runs");
    let prefix = format!("{}-", victim.pid());
    let mut dirs = fs::read_dir(runs).unwrap().flatten().map(|e| e.path());
    dirs.find(|d| d.file_name().unwrap().to_str().unwrap().starts_with(&prefix)).unwrap()
}

async fn pids(victim: &mut Running) -> Vec<u32> {
    let line = victim.wait_line("pids ").await;
    line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect()
}

async fn all_gone(pids: &[u32], dir: &Path) {
    wait_until("every process and file is gone", LIMIT, || async {
        pids.iter().all(|pid| gone(*pid)) && !dir.exists()
    })
    .await;
}

/// System V segments that one of the processes has made.
fn segments(pids: &[u32]) -> usize {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let creator = |line: &str| line.split_whitespace().nth(4).and_then(|pid| pid.parse().ok());
    table.lines().filter_map(creator).filter(|pid: &u32| pids.contains(pid)).count()
}

async fn killed_victim(mode: &[&str]) {
    let mut victim = victim().args(mode.iter().copied()).start();
    let mut left = pids(&mut victim).await;
    let backends = children(left[1]);
    assert!(backends.len() >= 3, "{backends:?}");
    assert!(left.iter().all(|pid| !gone(*pid)));
    left.extend(backends);
    assert_eq!(segments(&left), 1);
    let dir = run_dir(&victim);
    victim.signal("KILL");
    victim.wait_exit().await;
    all_gone(&left, &dir).await;
    assert_eq!(segments(&left), 0);
}

#[tokio::test]
async fn servers_and_programs_die_with_a_killed_test_process() {
    killed_victim(&["servers"]).await;
}

#[tokio::test]
async fn paused_servers_die_with_it_too() {
    killed_victim(&["servers", "paused"]).await;
}

#[tokio::test]
async fn a_test_process_that_ends_in_peace_leaves_nothing() {
    let mut victim = victim().arg("servers").start();
    let left = pids(&mut victim).await;
    let dir = run_dir(&victim);
    victim.close_stdin();
    assert!(victim.wait_exit().await.success());
    all_gone(&left, &dir).await;
}

#[tokio::test]
async fn the_files_of_a_run_whose_guard_was_killed_too_go_at_the_next_start() {
    let mut first = victim().arg("child").start();
    pids(&mut first).await;
    let dir = run_dir(&first);
    // The guard goes with it.
    first.kill9().await;
    assert!(dir.exists());
    let mut second = victim().arg("child").start();
    pids(&mut second).await;
    assert!(!dir.exists());
    assert!(run_dir(&second).exists());
}

#[tokio::test]
async fn a_server_outlives_the_thread_that_started_it() {
    let start = || tokio::runtime::Runtime::new().unwrap().block_on(Redis::start());
    let server = std::thread::spawn(start).join().unwrap();
    // Were it bound to the thread it would be dying now; a command needs it alive.
    server.flushall().await;
    server.restart().await;
    server.flushall().await;
}

#[tokio::test]
async fn a_dropped_server_is_gone_when_drop_returns() {
    let (redis, postgres) = (Redis::start().await, Postgres::start().await);
    let mut left = vec![redis.pid(), postgres.pid()];
    left.extend(children(postgres.pid()));
    drop((redis, postgres));
    assert!(left.iter().all(|pid| gone(*pid)), "{left:?}");
    let killed = Postgres::start().await;
    let pid = killed.pid();
    killed.kill().await;
    drop(killed);
    assert_eq!(segments(&[pid]), 0);
}
