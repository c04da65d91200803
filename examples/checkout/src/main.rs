//! The checkout example: a small shop that runs on one machine or on many without a change.

mod app;
mod carriers;
mod catalog;
mod console;
mod db;
mod events;
#[cfg(feature = "failpoints")]
#[path = "failpoints/armed.rs"]
mod failpoints;
#[cfg(not(feature = "failpoints"))]
#[path = "failpoints/none.rs"]
mod failpoints;
mod objectives;
mod ops;
mod orders;
mod pages;
mod payments;
mod problems;
mod registry;
mod routes;
mod service;
mod sessions;
mod settings;
mod shared;
mod tables;
mod watch;

use std::process::ExitCode;

use settings::{Refused, Settings};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args_os()) {
        Ok(settings) => settings,
        Err(Refused::Help(text)) => {
            console::print(&text);
            return ExitCode::SUCCESS;
        }
        Err(Refused::Usage(line)) => return fail(&line, 2),
    };
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match service::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure.message, if failure.configuration { 2 } else { 1 }),
    }
}

fn fail(line: &str, code: u8) -> ExitCode {
    eprintln!("error: {line}");
    ExitCode::from(code)
}
