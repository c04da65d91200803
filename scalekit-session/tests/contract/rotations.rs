//! Keys that a session had: what leads to it, for how long, and what does not.

use std::time::Duration;

use scalekit_core::OperationId;
use scalekit_session::store::{Committed, Created, Ending, Loaded, Removed, Rotated, SessionKey, Successor};

use scalekit_testkit::wait_until;

use crate::fixture::*;

const GRACE: Duration = Duration::from_secs(20);

async fn rotated(at: &Fixture) -> (SessionKey, SessionKey) {
    let (old, new) = (at.given("old", &[("x", "1")]).await, key("new"));
    assert_eq!(at.rotate(&old, &new, Successor::Forwarded).await, Rotated::Done);
    (old, new)
}

/// Whether nobody has read by the new key.
async fn leads(at: &Fixture, from: &SessionKey, to: &SessionKey, x: &str) -> bool {
    match at.open(from).await {
        Loaded::Forwarded { at, record, unread } => {
            assert_eq!((&at, record.0["x"].as_str()), (to, x));
            unread
        }
        other => panic!("{other:?}"),
    }
}

/// Whether the key's grace has been over for the two seconds that the tests wait, or the little more that they take.
async fn is_reused(at: &Fixture, from: &SessionKey, to: &SessionKey) -> bool {
    let Loaded::Reused { at: now, record, since } = at.open(from).await else { return false };
    let known = record.0.contains_key("!a") && !record.0.contains_key("!s");
    now == *to && known && (1..60).contains(&since.as_secs())
}

pub(crate) async fn a_former_key_leads_to_the_session_until_the_new_one_is_read_and_for_the_grace(
    at: &Fixture,
) {
    let (old, new) = rotated(at).await;
    assert_eq!(at.members().await, ["new"], "its user's index names the new one alone");
    assert!(leads(at, &old, &new, "1").await);
    assert_eq!(at.commit(&old, &[set("x", "2")]).await, Committed::Done);
    assert!(leads(at, &old, &new, "2").await, "only a read by the new key is one");
    let record = at.load(&new).await.unwrap();
    assert_eq!((record.version(), record.0["x"].as_str()), (2, "2"));
    at.advance(GRACE - Duration::from_secs(2)).await;
    assert_eq!(at.commit(&old, &[add("n", 1, false)]).await, Committed::Done);
    assert!(!leads(at, &old, &new, "2").await);
    at.advance(Duration::from_secs(4)).await;
    assert!(is_reused(at, &old, &new).await);
    assert_eq!(at.commit(&old, &[set("x", "3")]).await, Committed::Ended);
    // What a transaction has committed arrives all the same.
    let id = OperationId::new(1, 1);
    assert_eq!(at.apply(&old, &[add("n", 1, false)], id).await, Committed::Done);
    let record = at.load(&new).await.unwrap();
    assert_eq!((record.0["x"].as_str(), record.0["n"].as_str()), ("2", "2"));
    assert!(!record.0.contains_key("!p") && record.0.contains_key("!i"));
}

pub(crate) async fn a_former_key_lives_as_long_as_nobody_has_read_by_the_new_one(at: &Fixture) {
    let (old, new) = rotated(at).await;
    for _ in 0..5 {
        at.advance(Duration::from_secs(45)).await;
        assert!(leads(at, &old, &new, "1").await);
    }
    at.advance(Duration::from_secs(61)).await;
    assert_eq!(at.open(&old).await, Loaded::Missing, "it outlives the session");
    assert_eq!(at.open(&new).await, Loaded::Missing);
}

pub(crate) async fn whoever_rotates_second_is_told_what_the_first_got(at: &Fixture) {
    let (old, new) = rotated(at).await;
    let other = key("other");
    assert_eq!(at.rotate(&old, &other, Successor::Forwarded).await, Rotated::Forwarded(new.clone()));
    assert_eq!(at.open(&other).await, Loaded::Missing);
    // Two rotations on, the first key still leads to where the session is.
    assert!(at.load(&new).await.is_some());
    let third = key("third");
    assert_eq!(at.rotate(&new, &third, Successor::Forwarded).await, Rotated::Done);
    assert!(!leads(at, &old, &third, "1").await && leads(at, &new, &third, "1").await);
    assert_eq!(at.commit(&old, &[set("x", "2")]).await, Committed::Done);
    assert!(leads(at, &new, &third, "2").await);
    assert_eq!(at.members().await, ["third"]);
    assert_eq!(at.rotate(&key("none"), &key("to"), Successor::Forwarded).await, Rotated::Gone);
}

pub(crate) async fn a_session_ends_by_any_of_its_keys(at: &Fixture) {
    let (old, new) = rotated(at).await;
    assert_eq!(at.end(&old, None, Ending::Mark).await, Removed::Done);
    assert_eq!(at.members().await, Vec::<String>::new());
    for key in [&old, &new] {
        assert_eq!(at.open(key).await, Loaded::Ended);
        assert_eq!(at.commit(key, &[set("x", "2")]).await, Committed::Ended);
        assert_eq!(at.end(key, None, Ending::Mark).await, Removed::Gone);
    }
    // Also past the grace: a sign-out that was under way, or the answer to a theft.
    let (old, new) = (at.given("a", &[]).await, key("b"));
    assert_eq!(at.rotate(&old, &new, Successor::Forwarded).await, Rotated::Done);
    assert!(at.load(&new).await.is_some());
    at.advance(GRACE + Duration::from_secs(2)).await;
    assert_eq!(at.end(&old, None, Ending::Mark).await, Removed::Done);
    assert_eq!(at.open(&new).await, Loaded::Ended);
    assert_eq!(at.members().await, Vec::<String>::new());
}

pub(crate) async fn a_rotation_without_a_grace_leads_nobody_but_what_was_decided_before(at: &Fixture) {
    let (old, new) = (at.given("old", &[("x", "1")]).await, key("new"));
    assert_eq!(at.rotate(&old, &new, Successor::Alone).await, Rotated::Done);
    assert_eq!(at.open(&old).await, Loaded::Ended, "no theft: its holder asked for it");
    assert_eq!(at.commit(&old, &[set("x", "2")]).await, Committed::Ended);
    assert_eq!(at.rotate(&old, &key("other"), Successor::Alone).await, Rotated::Gone);
    assert_eq!(at.field(&new, "x").await.as_deref(), Some("1"));
    assert_eq!(at.members().await, ["new"]);
    assert_eq!(at.store.peek(&old, BUDGET).await.unwrap(), Some(new.clone()));
    let id = OperationId::new(1, 1);
    assert_eq!(at.apply(&old, &[set("x", "3")], id).await, Committed::Done);
    assert_eq!(at.field(&new, "x").await.as_deref(), Some("3"));
    assert_eq!(at.end(&old, None, Ending::Mark).await, Removed::Done);
    assert_eq!(at.open(&new).await, Loaded::Ended);
}

pub(crate) async fn a_rotation_without_a_grace_follows_one_in_passing(at: &Fixture) {
    let (first, second) = rotated(at).await;
    let third = key("third");
    assert_eq!(at.rotate(&first, &third, Successor::Alone).await, Rotated::Done);
    for dead in [&first, &second] {
        assert_eq!(at.open(dead).await, Loaded::Ended);
        assert_eq!(at.commit(dead, &[set("x", "2")]).await, Committed::Ended);
    }
    assert_eq!(at.field(&third, "x").await.as_deref(), Some("1"));
    assert_eq!(at.members().await, ["third"]);
    // Past the grace, the first key is worth no new one.
    let (first, second) = (at.given("a", &[]).await, key("b"));
    assert_eq!(at.rotate(&first, &second, Successor::Forwarded).await, Rotated::Done);
    assert!(at.load(&second).await.is_some());
    at.advance(GRACE + Duration::from_secs(2)).await;
    assert_eq!(at.rotate(&first, &key("c"), Successor::Alone).await, Rotated::Gone);
}

pub(crate) async fn the_session_to_keep_is_known_by_any_of_its_keys(at: &Fixture) {
    let (old, new) = rotated(at).await;
    at.given("another", &[]).await;
    let prefix = key("").prefix;
    assert_eq!(at.store.revoke(INDEX, &prefix, Some(&old.member), BUDGET).await.unwrap(), 1);
    assert_eq!(at.field(&new, "x").await.as_deref(), Some("1"));
    assert_eq!(at.open(&key("another")).await, Loaded::Ended);
    assert_eq!(at.members().await, ["new"]);
}

pub(crate) async fn a_write_by_a_former_key_is_a_use_of_it(at: &Fixture) {
    let (old, new) = rotated(at).await;
    for _ in 0..5 {
        at.advance(Duration::from_secs(45)).await;
        assert_eq!(at.commit(&old, &[add("n", 1, false)]).await, Committed::Done);
    }
    assert!(leads(at, &old, &new, "1").await);
}

pub(crate) async fn a_former_key_of_a_session_that_is_gone_opens_nothing(at: &Fixture) {
    let (old, new) = rotated(at).await;
    let mut short = creation("short", &[("!t", "10000")]);
    (short.idle, short.absolute) = (Duration::from_secs(10), Duration::from_secs(25));
    assert_eq!(at.create(&short).await, Created::Done);
    assert_eq!(at.rotate(&short.key, &key("next"), Successor::Forwarded).await, Rotated::Done);
    assert!(matches!(at.store.load(&key("next"), &at.rules, BUDGET).await.unwrap(), Loaded::Live(_)));
    wait_until("its first use is noted", BUDGET, async || {
        let former = at.store.load(&short.key, &at.rules, BUDGET).await.unwrap();
        matches!(former, Loaded::Forwarded { unread: false, .. })
    })
    .await;
    at.advance(Duration::from_secs(12)).await;
    // Its former key is kept for the grace longer than the session has lived.
    assert_eq!(at.open(&short.key).await, Loaded::Missing);
    assert_eq!(at.commit(&short.key, &[set("x", "1")]).await, Committed::Missing);
    // One that was signed out meanwhile is not reported as stolen.
    assert!(at.load(&new).await.is_some());
    at.advance(GRACE + Duration::from_secs(2)).await;
    assert!(is_reused(at, &old, &new).await);
    assert_eq!(at.end(&new, None, Ending::Mark).await, Removed::Done);
    assert_eq!(at.open(&old).await, Loaded::Ended);
}

pub(crate) async fn a_retired_session_is_read_for_thirty_seconds_and_never_changed(at: &Fixture) {
    let guest = at.given("guest", &[("x", "1")]).await;
    assert_eq!(at.end(&guest, Some(1), Ending::Retire).await, Removed::Done);
    assert_eq!(at.store.peek(&guest, BUDGET).await.unwrap(), None, "it has ended for those who watch it");
    assert_eq!(at.commit(&guest, &[set("x", "2")]).await, Committed::Ended);
    assert_eq!(at.rotate(&guest, &key("new"), Successor::Forwarded).await, Rotated::Gone);
    assert_eq!(at.field(&guest, "x").await.as_deref(), Some("1"));
    at.advance(Duration::from_secs(28)).await;
    assert_eq!(at.field(&guest, "x").await.as_deref(), Some("1"), "read once more");
    // A second sign-in from it does not give it another half minute.
    assert_eq!(at.end(&guest, Some(1), Ending::Retire).await, Removed::Done);
    at.advance(Duration::from_secs(4)).await;
    assert_eq!(at.open(&guest).await, Loaded::Ended);
    assert_eq!(at.commit(&guest, &[set("x", "2")]).await, Committed::Ended);
    // A late sign-out finds it given up, and ends what is left of it.
    let guest = at.given("another", &[("x", "1")]).await;
    assert_eq!(at.end(&guest, Some(1), Ending::Retire).await, Removed::Done);
    assert_eq!(at.end(&guest, None, Ending::Mark).await, Removed::Gone);
    assert_eq!(at.open(&guest).await, Loaded::Ended);
}
