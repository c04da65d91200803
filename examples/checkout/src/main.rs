//! The checkout example: a small shop that runs on one machine or on many without a change.

mod app;
mod carriers;
mod catalog;
#[cfg(feature = "postgres")]
#[path = "db/postgres.rs"]
mod chosen;
#[cfg(not(feature = "postgres"))]
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
