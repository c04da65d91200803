//! The directory of this test process, and the guard that outlives it and cleans up.
use std::{
    fs::{self, File},
    io::Write,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Everything this test process owns on the machine. It is never dropped: the guard sees the pipe close.
pub(crate) struct Run {
    dir: PathBuf,
    guard: Mutex<Child>,
    next: AtomicUsize,
    _lock: File,
}

static RUN: LazyLock<Run> = LazyLock::new(Run::start);

/// The run of this process, started at first use.
pub(crate) fn run() -> &'static Run {
    &RUN
}

/// The directory that all runs of this user share: runs, the Postgres template, port locks.
pub(crate) fn root() -> PathBuf {
    let tmp = std::env::temp_dir();
    let me = fs::metadata("/proc/self").map(|m| m.uid()).or_else(|_| probe_uid(&tmp));
    let me = me.unwrap_or_else(|e| panic!("cannot tell the user id: {e}"));
    let root = tmp.join(format!("scalekit-testkit-{me}"));
    make_dir(&root);
    let meta = fs::symlink_metadata(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    assert!(meta.is_dir() && meta.uid() == me, "{} is not a directory of user {me}", root.display());
    root
}

/// Creates the directory, readable for the unprivileged user that Postgres runs as.
pub(crate) fn make_dir(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let open = fs::Permissions::from_mode(0o755);
    // Set afterwards as well, since the umask may have taken it away.
    let made = fs::create_dir_all(path).and_then(|()| fs::set_permissions(path, open));
    made.unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
}

impl Run {
    fn start() -> Self {
        let runs = root().join("runs");
        make_dir(&runs);
        let nonce = crate::random::entropy();
        let dir = runs.join(format!("{}-{:08x}", std::process::id(), nonce as u32));
        // The lock is taken before the directory gets its final name, so that no other run takes it for a dead one.
        let staging = runs.join(format!(".{:016x}", nonce));
        make_dir(&staging);
        let lock =
            File::create(staging.join("lock")).unwrap_or_else(|e| panic!("{}: {e}", staging.display()));
        lock.lock().unwrap_or_else(|e| panic!("cannot lock {}: {e}", staging.display()));
        fs::rename(&staging, &dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        remove_dead(&runs);

        let guard = Command::new("sh")
            .args(["-c", include_str!("guard.sh")])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Not in the group of the terminal: Ctrl-C must not reach it before the end of file does.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start the guard (sh): {e}"));
        let run = Self { dir, guard: Mutex::new(guard), next: AtomicUsize::new(0), _lock: lock };
        run.tell(&format!("dir {}", run.dir.display()));
        run
    }

    /// A new empty directory that goes away with this process.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("{name}-{n}"));
        make_dir(&dir);
        dir
    }

    /// Has the guard end this process when the test process dies.
    pub(crate) fn add(&self, pid: u32, signal: &str) {
        self.tell(&format!("add {pid} {signal}"));
    }

    /// The process has been ended: its pid may soon be somebody else's.
    pub(crate) fn gone(&self, pid: u32) {
        self.tell(&format!("gone {pid}"));
    }

    fn tell(&self, line: &str) {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        let told = guard.stdin.as_mut().map(|pipe| pipe.write_all(format!("{line}\n").as_bytes()));
        assert!(matches!(told, Some(Ok(()))), "the guard process is gone: servers could be left behind");
    }
}

/// Removes the directories of runs whose lock is free, for guards that were killed themselves.
fn remove_dead(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for dir in entries.flatten().map(|e| e.path()) {
        let hidden = dir.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) {
            // Another process may remove it at the same time: that is as good.
            let _ = fs::remove_dir_all(&dir);
        }
    }
}

/// The owner of a file made by us, where there is no /proc.
fn probe_uid(tmp: &Path) -> std::io::Result<u32> {
    let probe = tmp.join(format!("scalekit-testkit-probe-{}", std::process::id()));
    let uid = File::create(&probe)?.metadata()?.uid();
    fs::remove_file(&probe)?;
    Ok(uid)
}
