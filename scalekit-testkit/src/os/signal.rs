//! Signals and process trees, by `/proc` and the shell's own `kill` (no unsafe code, no dependency).
use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Sends the signal to each process; one that is gone already is passed over.
pub(crate) fn send(signal: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let script = r#"signal=$1; shift; for pid; do kill -s "$signal" "$pid"; done; exit 0"#;
    let status = Command::new("sh")
        .args(["-c", script, "sh", signal])
        .args(pids)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "cannot send SIG{signal}");
}

/// The process and all its descendants, parents first.
pub(crate) fn tree(pid: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(child, _)| *child));
        next += 1;
    }
    found
}

/// Waits until every process is stopped (or gone): SIGSTOP takes effect a moment after it was sent.
pub(crate) async fn wait_stopped(pids: &[u32]) {
    poll(pids, "stop", rests).await;
}

/// Whether the process is stopped, or gone.
pub(crate) fn is_stopped(pid: u32) -> bool {
    rests(state(pid))
}

fn rests(state: Option<char>) -> bool {
    matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
}

/// Waits until every process is gone, or a zombie that holds nothing any more.
pub(crate) async fn wait_gone(pids: &[u32]) {
    poll(pids, "end", |state| matches!(state, None | Some('Z' | 'X'))).await;
}

async fn poll(pids: &[u32], what: &str, done: impl Fn(Option<char>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !pids.iter().all(|pid| done(state(*pid))) {
        assert!(Instant::now() < deadline, "processes {pids:?} do not {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The state letter of a process, `None` if there is no such process.
fn state(pid: u32) -> Option<char> {
    if fs::exists("/proc/self/stat").unwrap_or(false) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any character, a parenthesis too.
        return stat.rsplit_once(") ")?.1.chars().next();
    }
    let out = Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output().ok()?;
    String::from_utf8_lossy(&out.stdout).trim().chars().next()
}

/// (pid, parent) of every process.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return parents_by_ps() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
    let parent = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?))
    };
    pids.filter_map(parent).collect()
}

fn parents_by_ps() -> Vec<(u32, u32)> {
    let Ok(out) = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let pair = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    text.lines().filter_map(pair).collect()
}
