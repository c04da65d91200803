//! One suite for every session store: what `Store` promises, on memory and on a real Redis.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

mod fixture;
mod limits;
mod rotations;

use std::time::Duration;

use fixture::*;
use limits::*;
use rotations::*;
use scalekit_core::OperationId;
use scalekit_session::store::{Change, Committed, Created, Ending, Loaded, Removed, Replaced};
use scalekit_testkit::{Rng, seed};

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
    assert_eq!(at.end(&nobody, None, Ending::Mark).await, Removed::Gone);
    assert_eq!(at.left().await, Vec::<String>::new());
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
    new.replaces = Some(replaced(&old, 1));
    assert_eq!(at.commit(&old, &[set("x", "2")]).await, Committed::Done);
    let Created::Changed(now) = at.create(&new).await else { panic!("the change was lost") };
    assert_eq!((now.version(), now.0["x"].as_str()), (2, "2"));
    assert_eq!(at.load(&new.key).await, None);
    new.replaces = Some(replaced(&old, 2));
    assert_eq!(at.create(&new).await, Created::Done);
    assert_eq!(at.load(&old).await, None);
    assert_eq!(at.members().await, ["new"]);
    // What has ended meanwhile must not live on in the new one; one that keeps nothing of it comes all the same.
    let mut third = creation("third", &[("x", "2")]);
    third.replaces = Some(replaced(&old, 2));
    let Created::Changed(ended) = at.create(&third).await else { panic!("what had ended is there again") };
    assert!(ended.0.is_empty());
    third.replaces = Some(Replaced { version: None, ..replaced(&old, 2) });
    assert_eq!(at.create(&third).await, Created::Done);
}

async fn a_removal_with_a_version_sees_a_change(at: &Fixture) {
    let key = at.given("a", &[("x", "1")]).await;
    assert_eq!(at.commit(&key, &[set("x", "2")]).await, Committed::Done);
    let removed = at.end(&key, Some(1), Ending::Mark).await;
    assert!(matches!(removed, Removed::Changed(now) if now.0["x"] == "2"));
    assert_eq!(at.end(&key, Some(2), Ending::Mark).await, Removed::Done);
    assert_eq!(at.end(&key, None, Ending::Mark).await, Removed::Gone);
    assert_eq!(at.members().await, Vec::<String>::new());
    assert_eq!(at.left().await, Vec::<String>::new(), "the index outlives its last session");
}

async fn an_ended_session_leaves_a_mark_where_asked(at: &Fixture) {
    let key = at.given("a", &[("x", "secret")]).await;
    assert_eq!(at.end(&key, None, Ending::Mark).await, Removed::Done);
    assert_eq!(at.store.load(&key, &at.rules, BUDGET).await.unwrap(), Loaded::Ended);
    assert_eq!(at.commit(&key, &[set("x", "2")]).await, Committed::Ended);
    assert_eq!(at.end(&key, None, Ending::Mark).await, Removed::Gone);
    assert_eq!(at.create(&creation("a", &[])).await, Created::Taken);
    assert_eq!(at.members().await, Vec::<String>::new());
    if let Some(server) = at.server() {
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

    assert_eq!(at.end(&key("f"), None, Ending::Mark).await, Removed::Done);
    assert_eq!(at.members().await, ["g", "e", "d", "c"]);
    assert_eq!(at.store.revoke(INDEX, &prefix, Some("d"), BUDGET).await.unwrap(), 3);
    assert_eq!(at.members().await, ["d"]);
    assert_eq!(at.store.revoke(INDEX, &prefix, None, BUDGET).await.unwrap(), 1);
    assert_eq!(at.store.revoke(INDEX, &prefix, None, BUDGET).await.unwrap(), 0);
    for member in ["a", "b", "c", "d", "e", "f", "g"] {
        assert_eq!(at.load(&key(member)).await, None);
    }
    assert_eq!(at.left().await, Vec::<String>::new());
}

async fn an_index_counts_the_living_and_lets_the_oldest_go(at: &Fixture) {
    // Among them two that expire soon, whatever their absolute deadline.
    let oldest = creation("oldest", &[]);
    assert_eq!(at.create(&oldest).await, Created::Done);
    at.advance(Duration::from_secs(5)).await;
    for member in ["dead", "dead too"] {
        let mut brief = creation(member, &[("!t", "10000")]);
        brief.idle = Duration::from_secs(10);
        assert_eq!(at.create(&brief).await, Created::Done);
    }
    for member in ["b", "c"] {
        at.advance(Duration::from_secs(5)).await;
        at.given(member, &[]).await;
    }
    for member in ["d", "e"] {
        at.advance(Duration::from_secs(5)).await;
        at.given(member, &[]).await;
        assert!(at.load(&oldest.key).await.is_some(), "those that had expired were counted");
    }
    assert_eq!(at.members().await, ["e", "d", "c", "b", "oldest"]);
    at.advance(Duration::from_secs(5)).await;
    let mut newest = creation("newest", &[]);
    newest.absolute = Duration::from_secs(70);
    assert_eq!(at.create(&newest).await, Created::Done);
    assert_eq!(at.members().await, ["newest", "e", "d", "c", "b"], "by creation, not by deadline");
    assert_eq!(at.open(&oldest.key).await, Loaded::Ended);
}

async fn a_revoked_session_leaves_its_mark(at: &Fixture) {
    let key = at.given("a", &[("x", "1")]).await;
    assert_eq!(at.store.revoke(INDEX, &key.prefix, None, BUDGET).await.unwrap(), 1);
    assert_eq!(at.open(&key).await, Loaded::Ended);
    assert_eq!(at.commit(&key, &[set("x", "2")]).await, Committed::Ended);
    assert_eq!(at.left().await, Vec::<String>::new());
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
    assert_eq!(at.left().await, Vec::<String>::new());
}

async fn a_write_is_a_use(at: &Fixture) {
    let key = at.given("a", &[]).await;
    for _ in 0..5 {
        at.advance(Duration::from_secs(45)).await;
        assert_eq!(at.commit(&key, &[add("n", 1, false)]).await, Committed::Done);
    }
    assert_eq!(at.field(&key, "n").await.as_deref(), Some("5"));
}

async fn a_sign_in_may_have_deadlines_of_its_own(at: &Fixture) {
    let mut short = creation("short", &[("!t", "10000")]);
    (short.idle, short.absolute) = (Duration::from_secs(10), Duration::from_secs(25));
    assert_eq!(at.create(&short).await, Created::Done);
    for _ in 0..2 {
        at.advance(Duration::from_secs(8)).await;
        assert_eq!(at.commit(&short.key, &[add("n", 1, false)]).await, Committed::Done);
        assert!(matches!(at.store.load(&short.key, &at.rules, BUDGET).await.unwrap(), Loaded::Live(_)));
    }
    at.advance(Duration::from_secs(9)).await;
    assert_eq!(at.load(&short.key).await, None, "it outlives its own absolute deadline");
    let mut idle = creation("idle", &[("!t", "10000")]);
    idle.idle = Duration::from_secs(10);
    assert_eq!(at.create(&idle).await, Created::Done);
    at.advance(Duration::from_secs(11)).await;
    assert_eq!(at.load(&idle.key).await, None, "it outlives its own idle deadline");
}

macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::fixture::Fixture::memory()).await;
            })+
        }

        mod redis {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::fixture::Fixture::redis().await).await;
            })+
        }

        /// All in turn on a Cluster, and again on the replica that took over.
        #[tokio::test]
        async fn a_cluster_and_what_is_left_of_it_after_a_masters_death() {
            let mut at = Fixture::cluster().await;
            for failed_over in [false, true] {
                if failed_over {
                    at.fail_over().await;
                }
                $(
                    println!("{}, failed over: {failed_over}", stringify!($name));
                    at.server().unwrap().flushall().await;
                    $name(&at).await;
                )+
            }
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
    a_list_keeps_its_newest_entries_in_order,
    a_field_is_taken_by_one,
    a_commit_never_creates,
    an_operation_is_applied_once_and_old_ones_count_as_applied,
    a_key_is_created_once,
    a_session_replaces_the_one_that_was_read,
    a_removal_with_a_version_sees_a_change,
    an_ended_session_leaves_a_mark_where_asked,
    an_index_lists_revokes_and_is_bounded,
    idle_and_absolute_deadlines,
    a_write_is_a_use,
    a_sign_in_may_have_deadlines_of_its_own,
    a_former_key_leads_to_the_session_until_the_new_one_is_read_and_for_the_grace,
    a_former_key_lives_as_long_as_nobody_has_read_by_the_new_one,
    whoever_rotates_second_is_told_what_the_first_got,
    a_session_ends_by_any_of_its_keys,
    a_rotation_without_a_grace_leads_nobody_but_what_was_decided_before,
    a_rotation_without_a_grace_follows_one_in_passing,
    the_session_to_keep_is_known_by_any_of_its_keys,
    a_write_by_a_former_key_is_a_use_of_it,
    a_former_key_of_a_session_that_is_gone_opens_nothing,
    an_index_counts_the_living_and_lets_the_oldest_go,
    a_revoked_session_leaves_its_mark,
    a_retired_session_is_read_for_thirty_seconds_and_never_changed,
);
