//! The data directory: made once per machine by `initdb`, then copied.
use std::{
    fs::{self, File},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::os::{Binary, find, make_dir, root, unprivileged_user};

const PACKAGE: &str = "postgresql";

/// The server program and the directory of a fresh cluster, a copy of the machine's template.
pub(super) fn new_cluster(dir: &Path) -> (PathBuf, PathBuf) {
    let postgres = find(&Binary { name: "postgres", package: PACKAGE });
    let template = template(&postgres);
    let data = dir.join("data");
    // `cp -a` keeps owner and modes, and shares blocks where the file system can.
    run_checked(Command::new("cp").arg("-a").arg(&template).arg(&data));
    (postgres, data)
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
fn template(postgres: &Path) -> PathBuf {
    let home = root().join("postgres");
    make_dir(&home);
    let template = home.join(format!("template-{}", version(postgres)));
    let lock = File::create(home.join("lock")).unwrap_or_else(|e| panic!("{}: {e}", home.display()));
    lock.lock().unwrap_or_else(|e| panic!("cannot lock {}: {e}", home.display()));
    if template.is_dir() {
        return template;
    }
    let half = home.join("half-made");
    let _ = fs::remove_dir_all(&half);
    make_dir(&half);
    let mut initdb = Command::new(find(&Binary { name: "initdb", package: PACKAGE }));
    initdb.arg("-D").arg(&half);
    initdb.args(["-U", "postgres", "-A", "trust", "--no-sync", "--locale=C.UTF-8", "-E", "UTF8"]);
    if let Some((uid, gid)) = unprivileged_user() {
        chown(&half, Some(uid), Some(gid)).unwrap_or_else(|e| panic!("chown {}: {e}", half.display()));
        initdb.uid(uid).gid(gid);
    }
    run_checked(&mut initdb);
    // Renamed as a whole: a template that is there is complete, even if initdb was killed half-way.
    fs::rename(&half, &template).unwrap_or_else(|e| panic!("{}: {e}", template.display()));
    template
}

/// Such as `15.18`.
fn version(postgres: &Path) -> String {
    let out = Command::new(postgres).arg("--version").output();
    let out = out.unwrap_or_else(|e| panic!("{} --version: {e}", postgres.display()));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    number.unwrap_or_else(|| panic!("{} --version says {text:?}", postgres.display())).to_owned()
}

fn run_checked(command: &mut Command) {
    let out = command.stdin(Stdio::null()).current_dir("/").output();
    let out = out.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr));
}
