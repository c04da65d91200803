//! What promtool says of metrics and rules.
use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use super::Prometheus;
use crate::os::{Binary, find, run};

/// The rule file's name beside the test file.
const RULES: &str = "rules.yml";

impl Prometheus {
    /// What `promtool check metrics` says of a text exposition.
    ///
    /// # Errors
    /// Its complaints: of text that Prometheus could not read, and of what its lint finds in the rest, such as a
    /// metric without help or a counter whose name does not end in `_total`.
    pub fn check_metrics(text: &str) -> Result<(), String> {
        promtool(&["check", "metrics"], &[("metrics", text)], Some("metrics"))
    }

    /// What `promtool check rules` says of a rule file.
    ///
    /// # Errors
    /// Its complaints, of duplicate rules too.
    pub fn check_rules(yaml: &str) -> Result<(), String> {
        promtool(&["check", "rules", "--lint-fatal", RULES], &[(RULES, yaml)], None)
    }

    /// Runs the unit tests of a rule file (`promtool test rules`).
    ///
    /// The tests name the rules as `rule_files: [rules.yml]`; this panics where they do not, since tests of no
    /// rules prove nothing.
    ///
    /// # Errors
    /// What was expected and what came.
    pub fn test_rules(rules: &str, tests: &str) -> Result<(), String> {
        assert!(tests.contains(RULES), "the tests do not have `rule_files: [{RULES}]`:\n{tests}");
        promtool(&["test", "rules", "tests.yml"], &[(RULES, rules), ("tests.yml", tests)], None)
    }
}

/// Runs promtool in a directory with the files; a failure is what it has printed.
fn promtool(args: &[&str], files: &[(&str, &str)], stdin: Option<&str>) -> Result<(), String> {
    let program = find(&Binary { name: "promtool", package: "prometheus" });
    let dir = run().scratch("promtool");
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    }
    // A file and not a pipe: nobody has to write while somebody reads.
    let stdin = stdin.map_or(Path::new("/dev/null").to_owned(), |name| dir.join(name));
    let stdin = File::open(&stdin).unwrap_or_else(|e| panic!("{}: {e}", stdin.display()));
    let output = Command::new(program).args(args).current_dir(&dir).stdin(stdin).output();
    let output = output.unwrap_or_else(|e| panic!("cannot run promtool: {e}"));
    let _ = fs::remove_dir_all(&dir);
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("promtool {}: {}\n{err}{out}", args.join(" "), output.status))
}
