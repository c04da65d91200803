//! A child process that cannot outlive the test process, with its log in a file.
use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{is_stopped, run, send, tree, wait_gone};

/// How to start a process.
pub(crate) struct Spawn {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    /// Standard error, and standard output unless that is piped, are appended to this file.
    pub(crate) log: PathBuf,
    /// What ends it politely (`QUIT` for Postgres, which then frees its shared memory), or `KILL`.
    pub(crate) end: &'static str,
    pub(crate) user: Option<(u32, u32)>,
    /// Keep stdin and stdout as pipes.
    pub(crate) piped: bool,
}

/// A started process. Dropping it ends it and waits until it is gone.
pub(crate) struct Process {
    pid: u32,
    child: Mutex<Child>,
    end: &'static str,
    log: PathBuf,
    /// Length of the log when this process started: what stands before is an earlier process's.
    log_start: u64,
}

impl Process {
    /// Starts the process behind the gate, after the guard knows its pid.
    pub(crate) fn start(spawn: &Spawn) -> (Self, Option<(ChildStdin, ChildStdout)>) {
        let log = open_log(&spawn.log);
        let log_start = log.metadata().map_or(0, |m| m.len());
        let log_too = log.try_clone().unwrap_or_else(|e| panic!("{}: {e}", spawn.log.display()));
        let stdin = if spawn.piped { "piped" } else { "closed" };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", include_str!("gate.sh"), "gate", stdin]).arg(&spawn.program).args(&spawn.args);
        command.envs(spawn.env.iter().map(|(k, v)| (k, v))).current_dir("/");
        command.stdin(Stdio::piped()).stderr(log);
        command.stdout(if spawn.piped { Stdio::piped() } else { log_too.into() });
        // A Ctrl-C at the terminal goes to the test process; the guard ends the servers.
        command.process_group(0);
        if let Some((uid, gid)) = spawn.user {
            command.uid(uid).gid(gid);
        }
        let mut child =
            command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", spawn.program.display()));
        let pid = child.id();
        run().add(pid, spawn.end);
        let mut stdin = child.stdin.take();
        if let Some(pipe) = stdin.as_mut() {
            pipe.write_all(b"go\n")
                .unwrap_or_else(|e| panic!("{} did not start: {e}", spawn.program.display()));
        }
        let pipes = child.stdout.take().and_then(|out| Some((stdin?, out)));
        let this = Self { pid, child: Mutex::new(child), end: spawn.end, log: spawn.log.clone(), log_start };
        (this, pipes)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Its exit status, if it has ended.
    pub(crate) fn exited(&self) -> Option<ExitStatus> {
        let status = self.child().try_wait().unwrap_or_else(|e| panic!("cannot wait for {}: {e}", self.pid));
        if status.is_some() {
            run().gone(self.pid);
        }
        status
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.exited() {
                Some(status) => return Some(status),
                None if Instant::now() >= deadline => return None,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// SIGKILL to it and all its descendants; returns when they are gone.
    pub(crate) async fn kill(&self) {
        if self.exited().is_some() {
            return;
        }
        let members = self.stopped_tree();
        send("KILL", &members);
        self.wait(Duration::from_secs(10)).await.unwrap_or_else(|| panic!("{} survives SIGKILL", self.pid));
        wait_gone(&members).await;
    }

    /// The process and its descendants, with the process stopped so that it forks no more.
    ///
    /// SIGSTOP takes effect a moment after it was sent. A child that is forked in between would be missed, survive
    /// its parent for a while, and keep a Postgres that starts again off the shared memory it is still attached to.
    pub(crate) fn stopped_tree(&self) -> Vec<u32> {
        send("STOP", &[self.pid]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_stopped(self.pid) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_micros(100));
        }
        tree(self.pid)
    }

    /// What it has logged since it started.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let own = bytes.get(self.log_start as usize..).unwrap_or_default();
        String::from_utf8_lossy(own).into_owned()
    }

    /// Waits until its log has the text; panics if it ends or takes longer than 30 s.
    pub(crate) async fn wait_log(&self, what: &str, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.log().contains(text) {
            let ended = self.exited();
            if ended.is_some() || Instant::now() >= deadline {
                let how = ended.map_or("did not get ready in 30 s".into(), |s| format!("ended with {s}"));
                panic!("{what} {how}");
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
    }
}

impl Process {
    /// Ends it, politely first if it is a server that wants that, and waits until it is gone.
    pub(crate) fn end_now(&self) {
        if self.exited().is_some() {
            return;
        }
        let members = self.stopped_tree();
        if self.end != "KILL" {
            send(self.end, &[self.pid]);
            send("CONT", &members);
            let deadline = Instant::now() + Duration::from_secs(3);
            while self.exited().is_none() && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        if self.exited().is_none() {
            send("KILL", &members);
            let _ = self.child().wait();
            run().gone(self.pid);
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn open_log(path: &Path) -> File {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
