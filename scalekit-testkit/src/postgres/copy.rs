//! Databases as text, for tests of what a dump and its restore do.
use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{
    cluster::{program, run_checked},
    database::Database,
};

impl Database {
    /// The database as `pg_dump` writes it, and what [`restore`](Self::restore) takes.
    ///
    /// # Panics
    /// If `pg_dump` fails.
    pub fn dump(&self) -> Vec<u8> {
        run_checked(Command::new(program("pg_dump")).arg("--no-owner").arg(self.url()))
    }

    /// Fills an empty database, on any server, with what was dumped.
    ///
    /// # Panics
    /// If `psql` fails at any statement.
    pub fn restore(&self, dump: &[u8]) {
        let mut psql = Command::new(program("psql"));
        psql.args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname"]).arg(self.url());
        psql.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = psql.spawn().unwrap_or_else(|e| panic!("{psql:?}: {e}"));
        let written = child.stdin.take().map(|mut input| input.write_all(dump));
        let status = child.wait();
        assert!(
            matches!((written, status), (Some(Ok(())), Ok(status)) if status.success()),
            "the dump cannot be restored into {}",
            self.name()
        );
    }
}
