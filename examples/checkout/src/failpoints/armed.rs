//! Named steps at which this process kills itself, to see what a crash there leaves behind.

mod store;

use std::{env, process, thread};

pub(crate) use store::watched;

/// The variable that names the step.
const VARIABLE: &str = "SCALEKIT_FAILPOINT";

/// Kills the process by SIGKILL if this step is the armed one: no destructor runs and no buffer is flushed.
pub(crate) fn reach(step: &str) {
    if env::var_os(VARIABLE).is_none_or(|armed| armed != step) {
        return;
    }
    let pid = process::id().to_string();
    // The standard library cannot raise a signal, and unsafe code is forbidden here.
    if let Err(error) = process::Command::new("kill").args(["-9", &pid]).status() {
        tracing::error!(%error, "cannot kill this process at {step}");
        process::abort();
    }
    loop {
        thread::park();
    }
}
