//! One suite for every session store: what `Store` promises, on memory and on a real Redis.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod limits;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use limits::*;
use scalekit_core::{
    ManualClock, OperationId,
    redis::{Redis, RedisConfig, cmd},
};
use scalekit_session::{
    MemoryStore, RedisStore,
    store::{Change, Committed, Created, Creation, Loaded, Record, Removed, Rules, SessionKey, Store},
};
use scalekit_testkit::{RedisServer, Rng, seed};

const BUDGET: Duration = Duration::from_secs(10);
const INDEX: &str = "t:{00ff}:u:someone";

struct Fixture {
    store: Arc<dyn Store>,
    rules: Rules,
    clock: Option<Arc<ManualClock>>,
    server: Option<RedisServer>,
}

impl Fixture {
    fn memory() -> Self {
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let store = Arc::new(MemoryStore::with_clock(clock.clone()));
        Self { store, rules: rules(), clock: Some(clock), server: None }
    }

    async fn redis() -> Self {
        let server = scalekit_testkit::Redis::start().await;
        let redis = Redis::open_with(&[server.url()], patient()).unwrap();
        Self { store: Arc::new(RedisStore::new(redis)), rules: rules(), clock: None, server: Some(server) }
    }

    /// Redis has no clock to set: there, all that is stored is moved into the past.
    async fn advance(&self, by: Duration) {
        let ms = i64::try_from(by.as_millis()).unwrap();
        let Some(server) = &self.server else { return self.clock.as_ref().unwrap().advance(by) };
        let redis = Redis::open_with(&[server.url()], patient()).unwrap();
        for key in server.keys().await {
            let left: i64 = redis.query(cmd("PTTL").arg(&key)).await.unwrap();
            if left <= ms {
                let () = redis.query(cmd("DEL").arg(&key)).await.unwrap();
                continue;
            }
            let () = redis.query(cmd("PEXPIRE").arg(&key).arg(left - ms)).await.unwrap();
            if key.contains(":u:") {
                let members: Vec<String> = redis.query(cmd("ZRANGE").arg(&key).arg(0).arg(-1)).await.unwrap();
                for member in members {
                    let () = redis.query(cmd("ZINCRBY").arg(&key).arg(-ms).arg(member)).await.unwrap();
                }
            } else {
                for field in ["!a", "!c"] {
                    let () = redis.query(cmd("HINCRBY").arg(&key).arg(field).arg(-ms)).await.unwrap();
                }
            }
        }
    }

    async fn load(&self, key: &SessionKey) -> Option<Record> {
        match self.store.load(key, &self.rules, BUDGET).await.unwrap() {
            Loaded::Live(record) => Some(record),
            Loaded::Ended | Loaded::Missing => None,
        }
    }

    async fn commit(&self, key: &SessionKey, changes: &[Change]) -> Committed {
        self.store.commit(key, changes, None, &self.rules, BUDGET).await.unwrap()
    }

    async fn apply(&self, key: &SessionKey, changes: &[Change], id: OperationId) -> Committed {
        self.store.commit(key, changes, Some(id), &self.rules, BUDGET).await.unwrap()
    }

    async fn create(&self, creation: &Creation) -> Created {
        self.store.create(creation, &self.rules, BUDGET).await.unwrap()
    }

    async fn given(&self, member: &str, fields: &[(&str, &str)]) -> SessionKey {
        let creation = creation(member, fields);
        assert_eq!(self.create(&creation).await, Created::Done);
        creation.key
    }

    async fn members(&self) -> Vec<String> {
        let prefix = key("").prefix;
        let listed = self.store.list(INDEX, &prefix, &self.rules, BUDGET).await.unwrap();
        listed.into_iter().map(|one| one.member).collect()
    }

    async fn field(&self, key: &SessionKey, name: &str) -> Option<String> {
        self.load(key).await.and_then(|record| record.0.get(name).cloned())
    }
}

fn patient() -> RedisConfig {
    RedisConfig::default().with_io_budget(BUDGET).with_connect_timeout(BUDGET)
}

fn rules() -> Rules {
    Rules {
        idle: Duration::from_secs(60),
        absolute: Duration::from_secs(600),
        max_fields: 40,
        max_bytes: 4_000,
        max_sessions: 5,
    }
}

fn key(member: &str) -> SessionKey {
    SessionKey { prefix: "t:{00ff}:s:".to_owned(), member: member.to_owned() }
}

fn creation(member: &str, fields: &[(&str, &str)]) -> Creation {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let fields: BTreeMap<String, String> = fields.collect();
    Creation { key: key(member), fields, index: Some(INDEX.to_owned()), replaces: None, again: false }
}

fn set(field: &str, value: &str) -> Change {
    Change::Set(field.to_owned(), value.to_owned())
}

fn add(field: &str, by: i64, floor: bool) -> Change {
    Change::Add(field.to_owned(), by, floor)
}

fn swap(field: &str, old: Option<&str>, new: &str) -> Change {
    Change::Swap(field.to_owned(), old.map(str::to_owned), new.to_owned())
}

async fn changes_are_made_in_order_and_counted(at: &Fixture) {
    let key = at.given("a", &[("x", "1"), ("!l", "line")]).await;
    let before = at.load(&key).await.unwrap();
    assert_eq!((before.version(), before.lineage()), (1, Some("line")));
    let changes = [
        set("y", "{\"ü\":\"\\n\"}"),
        Change::Remove("x".to_owned()),
        add("n", 5, false),
        add("n", -9, false),
        add("cart:tea", 2, true),
        add("cart:gone", 3, true),
        add("cart:gone", -3, true),
        swap("z", None, ""),
    ];
    assert_eq!(at.commit(&key, &changes).await, Committed::Done);
    let after = at.load(&key).await.unwrap();
    let mine: Vec<_> = after.0.iter().filter(|(name, _)| !name.starts_with('!')).collect();
    let text: Vec<_> = mine.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(text, [("cart:tea", "2"), ("n", "-4"), ("y", "{\"ü\":\"\\n\"}"), ("z", "")]);
    assert_eq!(after.version(), 2);
    // An empty value is not the same as none.
    assert!(matches!(at.commit(&key, &[swap("z", None, "1")]).await, Committed::Conflict(_)));
    assert_eq!(at.commit(&key, &[swap("z", Some(""), "1")]).await, Committed::Done);
}

async fn a_commit_is_all_or_none(at: &Fixture) {
    let key = at.given("a", &[("x", "1"), ("text", "\"no number\"")]).await;
    let before = at.load(&key).await.unwrap();
    let large = "v".repeat(5_000);
    let many: Vec<Change> = (0..41).map(|at| set(&format!("f{at}"), "1")).collect();
    let refused: [(&[Change], Committed); 5] = [
        (&[set("x", "2"), swap("x", Some("9"), "3")], Committed::Conflict(before.clone())),
        (&[set("x", "2"), add("text", 1, false)], Committed::NotANumber),
        (&[set("x", "2"), set("y", &large)], Committed::Full),
        (&[set("x", "2"), swap("y", None, &large)], Committed::Full),
        (&many, Committed::Full),
    ];
    for (changes, expected) in refused {
        assert_eq!(at.commit(&key, changes).await, expected);
        assert_eq!(at.load(&key).await.unwrap(), before);
    }
    // At the limit, what does not grow is allowed.
    let fill: Vec<Change> = (0..20).map(|at| set(&format!("f{at}"), "1")).collect();
    assert_eq!(at.commit(&key, &fill).await, Committed::Done);
    assert_eq!(at.commit(&key, &fill).await, Committed::Done);
}

async fn a_commit_never_creates(at: &Fixture) {
    let nobody = key("nobody");
    for changes in [vec![set("x", "1")], vec![add("n", 1, true)], vec![swap("x", None, "1")], vec![]] {
        assert_eq!(at.commit(&nobody, &changes).await, Committed::Missing);
        assert_eq!(at.apply(&nobody, &changes, OperationId::new(1, 1)).await, Committed::Missing);
    }
    assert_eq!(at.load(&nobody).await, None);
    assert_eq!(at.store.remove(&nobody, None, false, BUDGET).await.unwrap(), Removed::Gone);
    if let Some(server) = &at.server {
        assert_eq!(server.keys().await, Vec::<String>::new());
    }
}

async fn an_operation_is_applied_once_and_old_ones_count_as_applied(at: &Fixture) {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let key = at.given("a", &[]).await;
    let id = |number: u64| OperationId::new(1_000 + number, number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let one = [add("n", 1, false)];
    // Sixteen at once, in any order, each three times.
    let mut calls: Vec<u64> = (1..=16).flat_map(|number| [number; 3]).collect();
    rng.shuffle(&mut calls);
    let mut seen = Vec::new();
    for number in calls {
        let expected = if seen.contains(&number) { Committed::Before } else { Committed::Done };
        assert_eq!(at.apply(&key, &one, id(number)).await, expected, "seed {seed}");
        seen.push(number);
    }
    assert_eq!(at.field(&key, "n").await.as_deref(), Some("16"));
    // The 17th drops the first, which from then on is at the low-water mark.
    assert_eq!(at.apply(&key, &one, id(17)).await, Committed::Done);
    assert_eq!(at.apply(&key, &one, id(1)).await, Committed::Before);
    assert_eq!(at.apply(&key, &one, id(0)).await, Committed::Before);
    assert_eq!(at.apply(&key, &one, id(2)).await, Committed::Before);
    assert_eq!(at.field(&key, "n").await.as_deref(), Some("17"));
    assert_eq!(at.field(&key, "!o").await.map(|marks| marks.len()), Some(17 * 32));
    // A refused operation leaves no mark.
    let refused = at.apply(&key, &[swap("n", Some("0"), "1")], id(18)).await;
    assert!(matches!(refused, Committed::Conflict(_)));
    assert_eq!(at.apply(&key, &one, id(18)).await, Committed::Done);
}

async fn a_key_is_created_once(at: &Fixture) {
    let mut first = creation("a", &[("x", "1")]);
    assert_eq!(at.create(&first).await, Created::Done);
    first.fields.insert("x".to_owned(), "2".to_owned());
    assert_eq!(at.create(&first).await, Created::Taken);
    assert_eq!(at.field(&first.key, "x").await.as_deref(), Some("1"));
    first.again = true;
    assert_eq!(at.create(&first).await, Created::Done);
    assert_eq!(at.field(&first.key, "x").await.as_deref(), Some("2"));
    assert_eq!(at.members().await, ["a"]);
    let large = "v".repeat(5_000);
    assert_eq!(at.create(&creation("b", &[("x", &large)])).await, Created::Full);
}

async fn a_session_replaces_the_one_that_was_read(at: &Fixture) {
    let old = at.given("old", &[("x", "1")]).await;
    let mut new = creation("new", &[("x", "1")]);
    new.replaces = Some((old.clone(), 1));
    assert_eq!(at.commit(&old, &[set("x", "2")]).await, Committed::Done);
    let Created::Changed(now) = at.create(&new).await else { panic!("the change was lost") };
    assert_eq!((now.version(), now.0["x"].as_str()), (2, "2"));
    assert_eq!(at.load(&new.key).await, None);
    new.replaces = Some((old.clone(), 2));
    assert_eq!(at.create(&new).await, Created::Done);
    assert_eq!(at.load(&old).await, None);
    assert_eq!(at.members().await, ["new"]);
    // What it replaces may have ended meanwhile.
    let mut third = creation("third", &[]);
    third.replaces = Some((old, 2));
    assert_eq!(at.create(&third).await, Created::Done);
}

async fn a_removal_with_a_version_sees_a_change(at: &Fixture) {
    let key = at.given("a", &[("x", "1")]).await;
    assert_eq!(at.commit(&key, &[set("x", "2")]).await, Committed::Done);
    let removed = at.store.remove(&key, Some(1), false, BUDGET).await.unwrap();
    assert!(matches!(removed, Removed::Changed(now) if now.0["x"] == "2"));
    assert_eq!(at.store.remove(&key, Some(2), false, BUDGET).await.unwrap(), Removed::Done);
    assert_eq!(at.store.remove(&key, None, false, BUDGET).await.unwrap(), Removed::Gone);
    assert_eq!(at.members().await, Vec::<String>::new());
    if let Some(server) = &at.server {
        assert_eq!(server.keys().await, Vec::<String>::new(), "the index outlives its last session");
    }
}

async fn an_ended_session_leaves_a_mark_where_asked(at: &Fixture) {
    let key = at.given("a", &[("x", "secret")]).await;
    assert_eq!(at.store.remove(&key, None, true, BUDGET).await.unwrap(), Removed::Done);
    assert_eq!(at.store.load(&key, &at.rules, BUDGET).await.unwrap(), Loaded::Ended);
    assert_eq!(at.commit(&key, &[set("x", "2")]).await, Committed::Ended);
    assert_eq!(at.store.remove(&key, None, true, BUDGET).await.unwrap(), Removed::Gone);
    assert_eq!(at.create(&creation("a", &[])).await, Created::Taken);
    assert_eq!(at.members().await, Vec::<String>::new());
    if let Some(server) = &at.server {
        let dump = String::from_utf8(server.dump_everything().await).unwrap();
        assert!(dump.contains("!x") && !dump.contains("secret"), "the mark holds more than itself: {dump}");
    } else {
        at.advance(Duration::from_secs(61)).await;
        assert_eq!(at.store.load(&key, &at.rules, BUDGET).await.unwrap(), Loaded::Missing);
    }
}

async fn an_index_lists_revokes_and_is_bounded(at: &Fixture) {
    for member in ["a", "b", "c", "d", "e", "f", "g"] {
        at.given(member, &[("!d", "phone")]).await;
        at.advance(Duration::from_millis(5)).await;
    }
    assert_eq!(at.members().await, ["g", "f", "e", "d", "c"], "the oldest went beyond five");
    assert_eq!(at.load(&key("a")).await, None);
    let prefix = key("").prefix;
    let listed = at.store.list(INDEX, &prefix, &at.rules, BUDGET).await.unwrap();
    assert!(listed.iter().all(|one| one.device == "phone" && one.created_ms > 1_600_000_000_000));

    assert_eq!(at.store.remove(&key("f"), None, false, BUDGET).await.unwrap(), Removed::Done);
    assert_eq!(at.members().await, ["g", "e", "d", "c"]);
    assert_eq!(at.store.revoke(INDEX, &prefix, Some("d"), BUDGET).await.unwrap(), 3);
    assert_eq!(at.members().await, ["d"]);
    assert_eq!(at.store.revoke(INDEX, &prefix, None, BUDGET).await.unwrap(), 1);
    assert_eq!(at.store.revoke(INDEX, &prefix, None, BUDGET).await.unwrap(), 0);
    for member in ["a", "b", "c", "d", "e", "f", "g"] {
        assert_eq!(at.load(&key(member)).await, None);
    }
    if let Some(server) = &at.server {
        assert_eq!(server.keys().await, Vec::<String>::new());
    }
}

async fn idle_and_absolute_deadlines(at: &Fixture) {
    let idle = at.given("idle", &[]).await;
    let used = at.given("used", &[]).await;
    for _ in 0..13 {
        at.advance(Duration::from_secs(40)).await;
        assert!(at.load(&used).await.is_some(), "a session in use ended");
    }
    assert_eq!(at.load(&idle).await, None, "an idle session lives");
    assert_eq!(at.commit(&idle, &[set("x", "1")]).await, Committed::Missing);
    assert_eq!(at.members().await, ["used"]);
    // 520 s of 600: from here, use gains nothing beyond the absolute deadline.
    at.advance(Duration::from_secs(40)).await;
    assert!(at.load(&used).await.is_some());
    at.advance(Duration::from_secs(45)).await;
    assert_eq!(at.load(&used).await, None, "use extended a session past its absolute deadline");
    assert_eq!(at.members().await, Vec::<String>::new());
    if let Some(server) = &at.server {
        assert_eq!(server.keys().await, Vec::<String>::new());
    }
}

async fn a_write_is_a_use(at: &Fixture) {
    let key = at.given("a", &[]).await;
    for _ in 0..5 {
        at.advance(Duration::from_secs(45)).await;
        assert_eq!(at.commit(&key, &[add("n", 1, false)]).await, Committed::Done);
    }
    assert_eq!(at.field(&key, "n").await.as_deref(), Some("5"));
}

macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Fixture::memory()).await;
            })+
        }

        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::Fixture::redis().await).await;
            })+
        }
    };
}

contract!(
    changes_are_made_in_order_and_counted,
    a_commit_is_all_or_none,
    what_a_commit_frees_makes_room_in_it,
    what_is_above_a_limit_may_shrink_and_operations_pass_it,
    counters_stay_exact_or_are_refused,
    a_full_session_can_be_signed_in,
    a_commit_never_creates,
    an_operation_is_applied_once_and_old_ones_count_as_applied,
    a_key_is_created_once,
    a_session_replaces_the_one_that_was_read,
    a_removal_with_a_version_sees_a_change,
    an_ended_session_leaves_a_mark_where_asked,
    an_index_lists_revokes_and_is_bounded,
    idle_and_absolute_deadlines,
    a_write_is_a_use,
);
