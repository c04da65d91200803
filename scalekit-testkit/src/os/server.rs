//! A server process with a directory and a port of its own: what Redis and Postgres have in common.
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Port, Process, Spawn, send, tail, wait_gone, wait_stopped};

pub(crate) struct Server {
    name: &'static str,
    spawn: Spawn,
    /// The text in its log that says that it serves.
    ready: &'static str,
    dir: PathBuf,
    port: Mutex<Port>,
    process: Mutex<Arc<Process>>,
    shown: AtomicBool,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(
        name: &'static str,
        spawn: Spawn,
        ready: &'static str,
        dir: PathBuf,
        port: Port,
    ) -> Self {
        let (process, _) = Process::start(&spawn);
        let server = Self {
            name,
            spawn,
            ready,
            dir,
            port: Mutex::new(port),
            process: Mutex::new(Arc::new(process)),
            shown: AtomicBool::new(false),
        };
        server.process().wait_log(name, ready).await;
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.lock().unwrap_or_else(PoisonError::into_inner).number()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process().pid()
    }

    pub(crate) fn log_tail(&self) -> String {
        tail(self.log())
    }

    pub(crate) fn log(&self) -> &Path {
        &self.spawn.log
    }

    /// Stops every process of the server; returns when none of them runs.
    pub(crate) async fn pause(&self) {
        let process = self.process();
        let members = process.stopped_tree();
        send("STOP", &members);
        wait_stopped(&members).await;
    }

    pub(crate) fn resume(&self) {
        send("CONT", &super::tree(self.pid()));
    }

    /// SIGKILL to every process of the server; returns when none is left.
    pub(crate) async fn kill(&self) {
        self.process().kill().await;
    }

    /// Sends the signal to the main process and waits until it has ended.
    pub(crate) async fn end(&self, signal: &str) {
        let process = self.process();
        if process.exited().is_some() {
            return;
        }
        let members = process.stopped_tree();
        send(signal, &[process.pid()]);
        send("CONT", &members);
        let ended = process.wait(Duration::from_secs(20)).await;
        assert!(ended.is_some(), "{} does not end by SIG{signal}; its log:\n{}", self.name, self.log_tail());
        wait_gone(&members).await;
    }

    /// Kills it if it runs, then starts it on the same port and directory; returns when it is ready.
    pub(crate) async fn restart(&self) {
        self.kill().await;
        let (process, _) = Process::start(&self.spawn);
        let process = Arc::new(process);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&process);
        process.wait_log(self.name, self.ready).await;
    }

    /// As [`restart`](Self::restart), on a port that the spawned program has been told of.
    pub(crate) async fn restart_on(&self, port: Port) {
        self.kill().await;
        *self.port.lock().unwrap_or_else(PoisonError::into_inner) = port;
        self.restart().await;
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn process(&self) -> Arc<Process> {
        Arc::clone(&self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows the log if the test is failing, once.
    pub(crate) fn show_log_if_panicking(&self) {
        if std::thread::panicking() && !self.shown.swap(true, Ordering::Relaxed) {
            eprintln!(
                "---- end of the log of {} on port {}\n{}\n----",
                self.name,
                self.port(),
                self.log_tail()
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.show_log_if_panicking();
        self.process().end_now();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
