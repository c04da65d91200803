//! `--key-ring FILE`: the keys that sign cookies and seal tokens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use scalekit::KeyRing;

/// The largest file.
const FILE_MAX: u64 = 64 * 1024;

/// The ring, and the file to read it from again.
#[derive(Clone, Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    pub(crate) ring: KeyRing,
}

impl KeyFile {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        Ok(Self { path: path.to_owned(), ring: read(path)? })
    }

    /// Takes the keys that the file holds now; if it cannot be read, the ring stays as it is.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let new = read(&self.path)?;
        self.ring
            .reload(new)
            .map(drop)
            .map_err(|error| format!("--key-ring {}: {error}", self.path.display()))
    }
}

/// Reads the file; a message names the line and never the key.
fn read(path: &Path) -> Result<KeyRing, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("--key-ring {}: {reason}", path.display());
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > FILE_MAX {
        return Err(failed(&format_args!("{size} bytes are more than {FILE_MAX}")));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    KeyRing::parse(&text).map_err(|error| failed(&error))
}
