//! The two sizes of a test run, and the record of what a long one saw.
use std::{env, fs::OpenOptions, io::Write};

/// Whether this is the long run (`SCALEKIT_SOAK=1`, set by `make soak`): full numbers instead of small ones.
#[must_use]
pub fn full() -> bool {
    env::var("SCALEKIT_SOAK").is_ok_and(|value| value == "1")
}

/// Appends `file<TAB>line` to the file named by `SCALEKIT_EVIDENCE`, or does nothing where that is not set.
///
/// `file` is the test's, by `file!()`; the collector sorts by it. The line is written at once, so that tests of
/// several processes may share the file. Panics if it cannot be written, or if `line` has a line break.
pub fn evidence(file: &str, line: &str) {
    if let Some(path) = env::var_os("SCALEKIT_EVIDENCE") {
        append(path.as_ref(), file, line);
    }
}

fn append(path: &std::path::Path, file: &str, line: &str) {
    assert!(!line.contains('\n'), "a line of evidence is one line: {line:?}");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut out| out.write_all(format!("{file}\t{line}\n").as_bytes()));
    written.unwrap_or_else(|e| panic!("SCALEKIT_EVIDENCE={}: {e}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn lines_are_appended() {
        let path = crate::os::run().scratch("evidence").join("lines");
        append(&path, "a.rs", "1,000 kills: no loss");
        append(&path, "b.rs", "none");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "a.rs\t1,000 kills: no loss\nb.rs\tnone\n");
    }
}
