//! `--key-ring FILE`: the keys that sign cookies and seal tokens.

use std::{fs, path::Path};

use scalekit::KeyRing;

/// The largest file.
const FILE_MAX: u64 = 64 * 1024;

/// Reads the file; a message names the line and never the key.
pub(super) fn read(path: &Path) -> Result<KeyRing, String> {
    let failed = |reason: &dyn std::fmt::Display| format!("--key-ring {}: {reason}", path.display());
    let size = fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > FILE_MAX {
        return Err(failed(&format_args!("{size} bytes are more than {FILE_MAX}")));
    }
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    KeyRing::parse(&text).map_err(|error| failed(&error))
}
