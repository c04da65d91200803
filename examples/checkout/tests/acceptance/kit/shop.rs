//! The shop as a process, and the servers that it stands on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use scalekit_testkit::{
    Database, Port, Postgres, PostgresServer, Program, Redis, RedisServer, Rng, Running, free_port, seed,
};

use super::{Ledger, Provider};

/// The build that has SQLite: what runs when nothing is asked for.
pub(crate) fn embedded() -> Program {
    Program::new(env!("CARGO_BIN_EXE_checkout-sqlite")).own_tmpdir()
}

/// The build that has Postgres.
fn on_postgres() -> Program {
    Program::new(env!("CARGO_BIN_EXE_checkout")).own_tmpdir()
}

/// A running shop.
pub(crate) struct Shop {
    pub(crate) running: Running,
    pub(crate) url: String,
}

impl Shop {
    /// Returns when it serves.
    pub(crate) async fn start(program: &Program) -> Self {
        let mut running = program.start();
        let url = running.wait_listening().await;
        Self { running, url }
    }

    /// A command to a pod, and its acknowledgement.
    pub(crate) async fn command(&mut self, verb: &str, reply: &str, pod: u64) {
        self.running.send_line(&format!("{verb} {pod}"));
        self.running.wait_line(&format!("{reply} {pod}")).await;
    }

    /// Nothing panicked, whatever was done to it.
    pub(crate) fn assert_no_panic(&self) {
        let log = self.running.stderr();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Redis, two Postgres shards, a payment provider, a key ring and a port: all that outlives a shop's process.
pub(crate) struct Servers {
    pub(crate) redis: RedisServer,
    pub(crate) postgres: PostgresServer,
    pub(crate) shards: [Database; 2],
    pub(crate) provider: Provider,
    pub(crate) ring: Ring,
    pub(crate) port: Port,
}

impl Servers {
    /// Servers that outlive the shop, and need not outlive themselves.
    pub(crate) async fn start() -> Self {
        Self::on(Redis::start().await, Postgres::start().await).await
    }

    /// Servers that keep what they acknowledged, and wait for the disk each time.
    pub(crate) async fn durable() -> Self {
        let redis = Redis::builder().appendonly_always().start().await;
        Self::on(redis, Postgres::builder().fsync(true).start().await).await
    }

    async fn on(redis: RedisServer, postgres: PostgresServer) -> Self {
        let shards = [postgres.database().await, postgres.database().await];
        let (provider, port) = (Provider::start().await, free_port());
        Self { redis, postgres, shards, provider, ring: Ring::new(), port }
    }

    /// The shop on all of them.
    pub(crate) fn program(&self) -> Program {
        let [a, b] = &self.shards;
        on_postgres()
            .args(["--listen".to_owned(), self.port.addr().to_string()])
            .args([
                "--redis".to_owned(),
                self.redis.url(),
                "--events".to_owned(),
                super::ledger::EVENTS.to_owned(),
            ])
            .args([
                "--shard".to_owned(),
                format!("a={}", a.url()),
                "--shard".to_owned(),
                format!("b={}", b.url()),
            ])
            .args(["--payments", self.provider.url()])
            .args(["--processes", "1", "--pool-max", "8"])
            .args(["--key-ring".to_owned(), self.ring.path().display().to_string()])
    }

    /// What the databases hold.
    pub(crate) async fn ledger(&self) -> Ledger {
        Ledger::open(&self.shards, &self.redis).await
    }
}

/// A key ring file.
pub(crate) struct Ring {
    path: PathBuf,
    keys: Vec<(String, Vec<u8>)>,
}

impl Ring {
    /// One key.
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("ring-{}", uuid::Uuid::now_v7()));
        let mut ring = Self { path, keys: Vec::new() };
        ring.rotate();
        ring
    }

    /// A new key signs from the next start on; those before it are accepted.
    pub(crate) fn rotate(&mut self) {
        // The low half of a version 7 UUID is random.
        let bytes = Rng::new(uuid::Uuid::now_v7().as_u64_pair().1).bytes(32);
        self.keys.insert(0, (format!("k{}", self.keys.len() + 1), bytes));
        self.write(self.keys.len());
    }

    /// Leaves only the key that signs in the file.
    pub(crate) fn drop_old_keys(&self) {
        self.write(1);
    }

    /// Puts all keys into the file.
    pub(crate) fn restore_old_keys(&self) {
        self.write(self.keys.len());
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every key's bytes.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|(_, bytes)| bytes.as_slice())
    }

    fn write(&self, count: usize) {
        let line = |(id, bytes): &(String, Vec<u8>)| format!("{id}:{}\n", BASE64_STANDARD.encode(bytes));
        let text: String = self.keys[..count].iter().map(line).collect();
        fs::write(&self.path, text).unwrap();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Nothing depends on it: the directory is a temporary one.
        let _gone_or_not = fs::remove_file(&self.path);
    }
}

/// Random numbers whose seed is printed.
pub(crate) fn rng() -> Rng {
    Rng::new(seed())
}
