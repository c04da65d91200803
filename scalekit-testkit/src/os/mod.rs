//! What the operating system is asked for: guarded processes, directories, ports, programs.
mod binary;
mod port;
mod process;
mod run;
mod server;
mod signal;

pub use port::{Port, free_port};

pub(crate) use binary::{Binary, find, unprivileged_user};
pub(crate) use process::{Process, Spawn, tail};
pub(crate) use run::{make_dir, root, run};
pub(crate) use server::Server;
pub(crate) use signal::{is_stopped, send, tree, wait_gone, wait_stopped};
