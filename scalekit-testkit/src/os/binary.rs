//! Finds the programs that the kit starts, and says which package has them when they are missing.
use std::{env, fs, path::PathBuf};

/// A program, and where to get it.
pub(crate) struct Binary {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
}

/// The path of the program: `PATH`, then the places where distributions hide servers.
pub(crate) fn find(binary: &Binary) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    dirs.extend(postgres_dirs());
    dirs.extend(["/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/bin"].map(PathBuf::from));
    let found = dirs.into_iter().map(|dir| dir.join(binary.name)).find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "this test needs the program `{}`, which is not installed: \
             `apt-get install {}` (Debian, Ubuntu), or the package of your system that has it",
            binary.name, binary.package
        )
    })
}

/// `/usr/lib/postgresql/*/bin`, the newest version first.
fn postgres_dirs() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The (uid, gid) that a server which refuses root is started as; `None` if this process is not root.
pub(crate) fn unprivileged_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata(super::root()).ok()?.uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let lookup = |name: &str| {
        let fields: Vec<&str> =
            users.lines().find(|l| l.split(':').next() == Some(name))?.split(':').collect();
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    let found = lookup("postgres").or_else(|| lookup("nobody"));
    Some(
        found.unwrap_or_else(|| {
            panic!("running as root, but there is no user `postgres` or `nobody` to drop to")
        }),
    )
}
