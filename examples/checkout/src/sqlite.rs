//! The same shop on SQLite in a build that has Postgres: `--all-features` tests the default build as well.
//!
//! The modules of `main.rs`, but for the one that names the database.

mod app;
mod carriers;
mod catalog;
#[path = "db/sqlite.rs"]
mod chosen;
mod console;
mod db;
mod entry;
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

fn main() -> std::process::ExitCode {
    entry::main()
}
