//! A program under test as a child process: its lines, its end, its failpoints.
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, ExitStatus},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::os::{Process, Spawn, run, send, tail};

const LIMIT: Duration = Duration::from_secs(30);

/// A program to be started.
#[derive(Debug, Clone)]
#[must_use]
pub struct Program {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Program {
    /// The program at this path, such as `env!("CARGO_BIN_EXE_checkout")`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        let path =
            std::path::absolute(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()));
        assert!(path.is_file(), "there is no program at {}", path.display());
        Self { path, args: Vec::new(), env: Vec::new() }
    }

    /// A program of this workspace that is built already, found beside the running test.
    pub fn built(name: &str) -> Self {
        let test = std::env::current_exe().unwrap_or_else(|e| panic!("where does this test run from? {e}"));
        // target/debug/deps/this_test
        let dir = test.ancestors().nth(2).unwrap_or_else(|| panic!("{} is not in target/", test.display()));
        Self::new(dir.join(name))
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, beside those of the test.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Gives it a `TMPDIR` that goes away with the test, whatever a killed program leaves in it.
    pub fn own_tmpdir(self) -> Self {
        let dir = run().scratch("tmp");
        self.env("TMPDIR", dir.display().to_string())
    }

    /// Arms a failpoint (`SCALEKIT_FAILPOINT=name`): the program kills itself when it gets there.
    pub fn failpoint(self, name: &str) -> Self {
        self.env("SCALEKIT_FAILPOINT", name)
    }

    /// Starts it; see [`Running::wait_line`] to know that it is ready.
    pub fn start(&self) -> Running {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = run().scratch("program").join("stderr");
        let spawn = Spawn {
            program: self.path.clone(),
            args: self.args.clone(),
            env: self.env.clone(),
            log: log.clone(),
            end: "KILL",
            user: None,
            piped: true,
        };
        let (process, pipes) = Process::start(&spawn);
        let (stdin, stdout) = pipes.unwrap_or_else(|| panic!("{name} was started without pipes"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (lines, reader) = read_lines(stdout, Arc::clone(&seen));
        Running { name, process, stdin: Some(stdin), lines, seen, reader, log }
    }
}

/// A started program. Dropping it kills it; it dies with the test process too. A failing test shows its output.
pub struct Running {
    name: String,
    process: Process,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    seen: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
    log: PathBuf,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("name", &self.name).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The next line on its standard output that starts with `prefix`; lines before it are passed over.
    ///
    /// Panics if the output ends first, or after 30 s.
    pub async fn wait_line(&mut self, prefix: &str) -> String {
        let found = tokio::time::timeout(LIMIT, async {
            while let Some(line) = self.lines.recv().await {
                if line.starts_with(prefix) {
                    return Some(line);
                }
            }
            None
        });
        match found.await {
            Ok(Some(line)) => line,
            Ok(None) => panic!("{} ended its output without a line {prefix:?}", self.name),
            Err(_) => panic!("{} has not printed a line {prefix:?} in {LIMIT:?}", self.name),
        }
    }

    /// Waits for `listening on http://ADDR` and returns `http://ADDR`.
    pub async fn wait_listening(&mut self) -> String {
        const PREFIX: &str = "listening on ";
        let line = self.wait_line(&format!("{PREFIX}http")).await;
        line[PREFIX.len()..].trim().to_owned()
    }

    /// Writes a line to its standard input.
    pub fn send_line(&mut self, line: &str) {
        let pipe = self.stdin.as_mut().unwrap_or_else(|| panic!("stdin of {} is closed", self.name));
        let written = pipe.write_all(format!("{line}\n").as_bytes()).and_then(|()| pipe.flush());
        written.unwrap_or_else(|e| panic!("{} does not read its stdin: {e}", self.name));
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until it has ended by itself and its output has been read; panics after 30 s.
    pub async fn wait_exit(&self) -> ExitStatus {
        let ended = self.process.wait(LIMIT).await;
        let status = ended.unwrap_or_else(|| panic!("{} has not ended in {LIMIT:?}", self.name));
        // The pipe stays open if the program has left a child that holds it: then there is no end to wait for.
        let deadline = Instant::now() + Duration::from_secs(1);
        while !self.reader.is_finished() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        status
    }

    /// Its exit status, if it has ended.
    #[must_use]
    pub fn exited(&self) -> Option<ExitStatus> {
        self.process.exited()
    }

    /// SIGKILL to it and its children; returns when they are gone.
    pub async fn kill9(&self) {
        self.process.kill().await;
    }

    /// SIGTERM; [`wait_exit`](Self::wait_exit) tells when it has ended.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Any signal, such as `STOP`, `CONT` or `HUP`.
    pub fn signal(&self, name: &str) {
        if self.process.exited().is_none() {
            send(name, &[self.pid()]);
        }
    }

    /// All that it has printed to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.log()
    }

    /// The lines it has printed to standard output, those taken by `wait_line` too.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        lock(&self.seen).clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (name, out, err) = (&self.name, lock(&self.seen).join("\n"), tail(&self.log));
            eprintln!("---- output of {name}\n{out}\n---- end of its standard error\n{err}\n----");
        }
        self.process.end_now();
        if let Some(dir) = self.log.parent() {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}

/// The lines as they come, and the thread that reads them until the pipe closes.
fn read_lines(
    out: ChildStdout,
    seen: Arc<Mutex<Vec<String>>>,
) -> (mpsc::UnboundedReceiver<String>, JoinHandle<()>) {
    let (sender, lines) = mpsc::unbounded_channel();
    // A thread and not a task: the pipe is drained even while the test's runtime is busy.
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            lock(&seen).push(line.clone());
            // Nobody may be waiting any more; the pipe is still to be drained.
            let _ = sender.send(line);
        }
    });
    (lines, reader)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
