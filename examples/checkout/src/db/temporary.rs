//! The directory of a run that was given no shards: gone with the run, or with the next one if the run was killed.

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
};

use uuid::Uuid;

/// What the directories are called, while they are made and then.
const MAKING: &str = ".checkout-";
const NAME: &str = "checkout-";
/// The file in it that is locked as long as its process lives, however that ends.
const LOCK: &str = "lock";

/// Removes its directory when it is dropped.
pub(crate) struct Temporary {
    dir: PathBuf,
    _lock: File,
}

impl Temporary {
    /// Makes one, and removes those of runs whose process is gone.
    pub(crate) fn new() -> io::Result<Self> {
        let all = env::temp_dir();
        if let Err(error) = sweep(&all) {
            tracing::debug!(%error, "directories of former runs are left behind");
        }
        let own = format!("{}-{}", process::id(), Uuid::now_v7());
        let (making, dir) = (all.join(format!("{MAKING}{own}")), all.join(format!("{NAME}{own}")));
        fs::create_dir(&making)?;
        let lock = File::create_new(making.join(LOCK))?;
        lock.try_lock()?;
        // Only now may others see it: what they find unlocked they remove.
        fs::rename(making, &dir)?;
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Removes it, once nothing works in it any more.
    pub(crate) fn remove(&self) {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, dir = %self.dir.display(), "the temporary directory is left behind");
            }
            _ => {}
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}

fn sweep(all: &Path) -> io::Result<()> {
    for entry in fs::read_dir(all)? {
        let entry = entry?;
        // A link is not followed: anybody may write to this place.
        if entry.file_type()?.is_dir() && entry.file_name().to_string_lossy().starts_with(NAME) {
            remove_if_left(&entry.path());
        }
    }
    Ok(())
}

fn remove_if_left(dir: &Path) {
    // Only a plain file of the directory's own: opening a pipe that somebody put there would wait for ever.
    if !fs::symlink_metadata(dir.join(LOCK)).is_ok_and(|lock| lock.is_file()) {
        return;
    }
    let Ok(lock) = File::open(dir.join(LOCK)) else { return };
    if lock.try_lock().is_ok() {
        match fs::remove_dir_all(dir) {
            Ok(()) => tracing::info!(dir = %dir.display(), "removed what a killed run left behind"),
            Err(error) => tracing::debug!(%error, dir = %dir.display(), "cannot be removed"),
        }
    }
}
