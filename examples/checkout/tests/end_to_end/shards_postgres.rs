//! Two databases of a test's own, on a Postgres that the tests share.

use scalekit_testkit::{Database, Postgres};

/// Where a test's orders are.
pub(crate) struct Shards([Database; 2]);

impl Shards {
    pub(crate) async fn create() -> Self {
        let server = Postgres::shared().await;
        Self([server.database().await, server.database().await])
    }

    /// The options that name them.
    pub(crate) fn options(&self) -> Vec<String> {
        let [a, b] = &self.0;
        vec![format!("--shard=a={}", a.url()), format!("--shard=b={}", b.url())]
    }
}
