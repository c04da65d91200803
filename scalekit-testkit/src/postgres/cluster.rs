//! The data directory: made once per machine by `initdb`, then copied.
use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::os::{Binary, find, make_dir, root, unprivileged_user};

/// A program of Postgres.
pub(super) fn program(name: &'static str) -> PathBuf {
    find(&Binary { name, package: "postgresql" })
}

/// The data directory of a fresh cluster, a copy of the machine's template.
pub(super) fn new_cluster(dir: &Path) -> PathBuf {
    let template = template();
    let data = dir.join("data");
    // `cp -a` keeps owner and modes, and shares blocks where the file system can.
    run_checked(Command::new("cp").arg("-a").arg(&template).arg(&data));
    data
}

/// The data directory of a fresh cluster that is no copy: its system identifier is its own. It takes a second or two.
pub(super) fn new_system(dir: &Path) -> PathBuf {
    let data = dir.join("data");
    make_dir(&data);
    initialize(&data);
    data
}

/// The data directory of a standby that streams from the server on this port, through a slot of its own.
pub(super) fn new_standby(dir: &Path, primary: u16, slot: &str) -> PathBuf {
    let data = dir.join("data");
    make_dir(&data);
    let mut backup = as_owner(&data, program("pg_basebackup"));
    backup.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &primary.to_string()]).arg("-D").arg(&data);
    backup.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-C", "-S", slot]);
    run_checked(&mut backup);
    data
}

/// Frees the System V segment that a postmaster leaves when it is killed; it may never be started again.
pub(super) fn remove_shared_memory(data: &Path) {
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    // Line 7 is the key and the id of the segment.
    if let Some(id) = pid_file.lines().nth(6).and_then(|line| line.split_whitespace().nth(1)) {
        let silent = || Stdio::null();
        let _ = Command::new("ipcrm").args(["-m", id]).stdout(silent()).stderr(silent()).status();
    }
}

/// The template of this Postgres version; whoever holds the lock makes it, the others wait.
fn template() -> PathBuf {
    let home = root().join("postgres");
    make_dir(&home);
    let template = home.join(format!("template-{}", version()));
    let lock = File::create(home.join("lock")).unwrap_or_else(|e| panic!("{}: {e}", home.display()));
    lock.lock().unwrap_or_else(|e| panic!("cannot lock {}: {e}", home.display()));
    if template.is_dir() {
        return template;
    }
    let half = home.join("half-made");
    let _ = fs::remove_dir_all(&half);
    make_dir(&half);
    initialize(&half);
    // Renamed as a whole: a template that is there is complete, even if initdb was killed half-way.
    fs::rename(&half, &template).unwrap_or_else(|e| panic!("{}: {e}", template.display()));
    template
}

fn initialize(data: &Path) {
    let mut initdb = as_owner(data, program("initdb"));
    initdb.arg("-D").arg(data);
    initdb.args(["-U", "postgres", "-A", "trust", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8"]);
    run_checked(&mut initdb);
}

/// Such as `15.18`.
fn version() -> String {
    let postgres = program("postgres");
    let out = Command::new(&postgres).arg("--version").output();
    let out = out.unwrap_or_else(|e| panic!("{} --version: {e}", postgres.display()));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    number.unwrap_or_else(|| panic!("{} --version says {text:?}", postgres.display())).to_owned()
}

/// A command of the user that the server runs as, to whom the directory is given.
fn as_owner(data: &Path, program: PathBuf) -> Command {
    let mut command = Command::new(program);
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(data, private).unwrap_or_else(|e| panic!("{}: {e}", data.display()));
    if let Some((uid, gid)) = unprivileged_user() {
        chown(data, Some(uid), Some(gid)).unwrap_or_else(|e| panic!("chown {}: {e}", data.display()));
        command.uid(uid).gid(gid);
    }
    command
}

/// Runs a command to its end; what it printed.
pub(super) fn run_checked(command: &mut Command) -> Vec<u8> {
    let out = command.stdin(Stdio::null()).current_dir("/").output();
    let out = out.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}
