//! Standard output: the lines that whoever started this process waits for.

use std::io::{self, Write};

/// Prints a line. Nobody may be reading any more, which is no reason to stop serving.
pub(crate) fn print(line: &str) {
    let mut out = io::stdout().lock();
    let _nobody_reads = writeln!(out, "{line}").and_then(|()| out.flush());
}
