//! Two SQLite files of a test's own.

use std::{env, fs, path::PathBuf};

/// Where a test's orders are; gone with the value.
pub(crate) struct Shards(PathBuf);

impl Shards {
    pub(crate) async fn create() -> Self {
        let dir = env::temp_dir().join(format!("checkout-test-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    /// The options that name them.
    pub(crate) fn options(&self) -> Vec<String> {
        ["a", "b"].map(|name| format!("--shard={name}=sqlite://{}/{name}.db", self.0.display())).to_vec()
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        let _still_in_use = fs::remove_dir_all(&self.0);
    }
}
