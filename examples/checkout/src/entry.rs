//! From the command line to the exit code.

use std::{io::IsTerminal, process::ExitCode};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::{
    console, service,
    settings::{Refused, Settings},
};

/// Runs the program until it is told to end.
pub(crate) fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args_os()) {
        Ok(settings) => settings,
        Err(Refused::Help(text)) => {
            console::print(&text);
            return ExitCode::SUCCESS;
        }
        Err(Refused::Usage(line)) => return fail(&line, 2),
    };
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours);
    log.with_writer(std::io::stderr).init();
    match service::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure.message, if failure.configuration { 2 } else { 1 }),
    }
}

fn fail(line: &str, code: u8) -> ExitCode {
    eprintln!("error: {line}");
    ExitCode::from(code)
}
