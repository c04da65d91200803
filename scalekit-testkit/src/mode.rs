//! The two sizes of a test run, and the record of what a long one saw.
use std::{env, fs::OpenOptions, io::Write};

/// Whether this is the long run (`SCALEKIT_SOAK=1`, set by `make soak`): full numbers instead of small ones.
#[must_use]
pub fn full() -> bool {
    env::var("SCALEKIT_SOAK").is_ok_and(|value| value == "1")
}

/// Appends the row `| what | how often | outcome |` to the file named by `SCALEKIT_EVIDENCE`, or does nothing where
/// that is not set.
///
/// Written at once, so that tests of several processes may share the file. Panics if it cannot be written, or if a cell
/// has a line break or a bar.
pub fn evidence(what: &str, how_often: &str, outcome: &str) {
    if let Some(path) = env::var_os("SCALEKIT_EVIDENCE") {
        append(path.as_ref(), [what, how_often, outcome]);
    }
}

fn append(path: &std::path::Path, row: [&str; 3]) {
    let bad = row.iter().find(|cell| cell.contains(['\n', '|']));
    assert!(bad.is_none(), "a cell of the evidence is one line without bars: {bad:?}");
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut out| out.write_all(format!("| {} |\n", row.join(" | ")).as_bytes()));
    written.unwrap_or_else(|e| panic!("SCALEKIT_EVIDENCE={}: {e}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn lines_are_appended() {
        let path = crate::os::run().scratch("evidence").join("lines");
        append(&path, ["relay killed", "1,000 kills", "no loss"]);
        append(&path, ["visitors", "10", "0 keys"]);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "| relay killed | 1,000 kills | no loss |\n| visitors | 10 | 0 keys |\n");
    }
}
