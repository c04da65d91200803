//! A topology of SQLite files: the same calls, and writers of all its pods queue in one line.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use scalekit_core::{
    ErrorKind, Principal,
    db::{MIGRATIONS, Migration, Sqlite, TxSource},
};
use scalekit_shard::{FileLocks, ShardMap, Topology};
use scalekit_testkit::at_once;

const NOTES: &[Migration] = &[Migration {
    line: "notes",
    version: 1,
    name: "note",
    postgres: "create table note (tenant text not null)",
    sqlite: "create table note (tenant text not null)",
}];

/// A folder that is removed with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("shards-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// One pod's topology of two files.
    fn topology(&self, files: &FileLocks) -> Topology<Sqlite> {
        let url = |name: &str| format!("sqlite:{}", self.0.join(name).display());
        let map = ShardMap::even(["s0", "s1"]).unwrap();
        let builder = Topology::builder(map).with_url("s0", url("s0.db")).with_url("s1", url("s1.db"));
        builder.with_files(files.clone()).build().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

async fn tenants_on(topology: &Topology<Sqlite>, shard: &str) -> Vec<String> {
    let pool = topology.shard(shard).unwrap().pool();
    sqlx::query_scalar("select tenant from note order by tenant").fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_pods_write_two_files_and_nobody_is_locked_out() {
    let (folder, files) = (Folder::new(), FileLocks::default());
    let pods: Vec<_> = (0..3).map(|_| folder.topology(&files)).collect();
    at_once(3, |pod| {
        let pod = pods[pod].clone();
        async move { pod.migrate(&[MIGRATIONS, NOTES]).await.unwrap() }
    })
    .await;
    at_once(30, |writer| {
        let pod = pods[writer % 3].clone();
        async move {
            for number in 0..5 {
                let tenant = format!("tenant-{:03}", writer * 5 + number);
                let principal = Principal::user("ada").tenant(tenant.as_str());
                let mut tx = TxSource::begin(&pod, &principal).await.unwrap();
                let insert = sqlx::query("insert into note (tenant) values (?1)").bind(tenant);
                insert.execute(&mut *tx).await.unwrap();
                if number == 4 {
                    drop(tx);
                } else {
                    tx.commit().await.unwrap();
                }
            }
        }
    })
    .await;
    let map = pods[0].map();
    let mut written = 0;
    for shard in ["s0", "s1"] {
        let tenants = tenants_on(&pods[0], shard).await;
        assert!(tenants.iter().all(|tenant| map.name(map.place(tenant).shard) == shard));
        assert!(!tenants.is_empty());
        written += tenants.len();
    }
    assert_eq!(written, 30 * 4);
    for pod in pods {
        pod.close().await;
    }
}

#[tokio::test]
async fn a_file_has_one_lock_however_it_is_written() {
    let files = FileLocks::default();
    let here = std::env::current_dir().unwrap();
    let names = [here.join("a.db"), PathBuf::from("a.db"), PathBuf::from("./a.db")];
    let _locks = names.map(|name| files.of(name));
    assert_eq!(format!("{files:?}").matches("a.db").count(), 1, "{files:?}");
}

#[tokio::test]
async fn two_shards_on_one_file_are_one_database() {
    let folder = Folder::new();
    let url = format!("sqlite:{}", folder.0.join("both.db").display());
    let topology: Topology<Sqlite> = Topology::builder(ShardMap::even(["s0", "s1"]).unwrap())
        .with_url("s0", url.as_str())
        .with_url("s1", url.as_str())
        .build()
        .unwrap();
    topology.migrate(&[MIGRATIONS, NOTES]).await.unwrap();
    assert_eq!(topology.databases().count(), 1);
    for shard in ["s0", "s1"] {
        let mut tx = topology.begin_on(shard).await.unwrap();
        sqlx::query("insert into note (tenant) values (?1)").bind(shard).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(tenants_on(&topology, "s0").await, ["s0", "s1"]);
    topology.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_file_is_that_file() {
    let folder = Folder::new();
    let file = |name: &str| format!("sqlite:{}", folder.0.join(name).display());
    let map = || ShardMap::even(["s0", "s1"]).unwrap();
    let with =
        |other: &str| Topology::<Sqlite>::builder(map()).with_url("s0", file("a.db")).with_url("s1", other);
    with(&file("b.db")).build().unwrap().check_distinct().await.unwrap();
    std::os::unix::fs::symlink(folder.0.join("a.db"), folder.0.join("link.db")).unwrap();
    let error = with(&file("link.db")).build().unwrap().check_distinct().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("\"s0\" and \"s1\" are one database"), "{error}");
    with("sqlite::memory:").build().unwrap().check_distinct().await.unwrap();
}
