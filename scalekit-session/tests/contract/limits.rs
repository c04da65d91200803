//! Limits of size and of numbers: what a commit may do to a session that is nearly full.

use scalekit_core::OperationId;
use scalekit_session::store::{Change, Committed, Created};

use crate::fixture::*;

pub(crate) async fn what_a_commit_frees_makes_room_in_it(at: &Fixture) {
    let (half, most) = ("v".repeat(2_500), "v".repeat(3_991));
    let key = at.given("a", &[("x", &half), ("!d", "device")]).await;
    // Neither order matters, and metadata does not count.
    let remove = || Change::Remove("x".to_owned());
    assert_eq!(at.commit(&key, &[set("y", &half)]).await, Committed::Full);
    assert_eq!(at.commit(&key, &[set("y", &half), remove()]).await, Committed::Done);
    assert_eq!(at.commit(&key, &[Change::Remove("y".to_owned()), set("x", &half)]).await, Committed::Done);
    let swapped = [swap("x", Some(&half), ""), set("y", &half)];
    assert_eq!(at.commit(&key, &swapped).await, Committed::Done);
    assert_eq!(at.commit(&key, &[remove(), set("y", &most)]).await, Committed::Done);
    assert_eq!(at.commit(&key, &[add("n", 99_999_999, false)]).await, Committed::Full);
    // So with the number of fields: 40 may be there, one of which goes as another comes.
    let fill: Vec<Change> = (0..39).map(|at| set(&format!("f{at}"), "")).collect();
    let all: Vec<Change> = [Change::Remove("y".to_owned())].into_iter().chain(fill).collect();
    assert_eq!(at.commit(&key, &all).await, Committed::Done);
    assert_eq!(at.commit(&key, &[set("last", "")]).await, Committed::Done);
    for change in [set("more", ""), add("more", 1, true), swap("more", None, "")] {
        assert_eq!(at.commit(&key, std::slice::from_ref(&change)).await, Committed::Full);
        let moved = [change, Change::Remove("f1".to_owned())];
        assert_eq!(at.commit(&key, &moved).await, Committed::Done);
        let back = [set("f1", ""), Change::Remove("more".to_owned())];
        assert_eq!(at.commit(&key, &back).await, Committed::Done);
    }
    // A counter that falls to its floor in the same commit was never there.
    assert_eq!(at.commit(&key, &[add("more", 1, true), add("more", -1, true)]).await, Committed::Done);
}

pub(crate) async fn what_is_above_a_limit_may_shrink_and_operations_pass_it(at: &Fixture) {
    let id = |number: u64| OperationId::new(1_000 + number, number);
    let key = at.given("a", &[]).await;
    let large = "v".repeat(5_000);
    for number in 0..20 {
        assert_eq!(at.apply(&key, &[set("x", &large)], id(number)).await, Committed::Done);
    }
    assert_eq!(at.commit(&key, &[set("y", "1")]).await, Committed::Full);
    assert_eq!(at.commit(&key, &[set("x", &large[1..])]).await, Committed::Done);
    assert_eq!(at.commit(&key, &[set("x", &large)]).await, Committed::Full);
    let small = "v".repeat(3_999);
    // The marks of the operations do not count.
    assert_eq!(at.commit(&key, &[set("x", &small)]).await, Committed::Done);
}

pub(crate) async fn counters_stay_exact_or_are_refused(at: &Fixture) {
    const MOST: i64 = 1_000_000_000_000_000;
    let key = at.given("a", &[("n", "7"), ("text", "\"1\""), ("zeros", "-007")]).await;
    let before = at.load(&key).await.unwrap();
    let refused = [
        vec![add("n", MOST, false)],
        vec![add("n", i64::MAX, false)],
        vec![add("n", i64::MIN, true)],
        vec![set("x", "1"), add("text", 1, false)],
        vec![set("n", "word"), add("n", 1, false)],
        vec![set("n", "+1"), add("n", 1, false)],
        vec![set("n", "0x10"), add("n", 1, false)],
        vec![set("n", ""), add("n", 1, false)],
    ];
    for changes in refused {
        assert_eq!(at.commit(&key, &changes).await, Committed::NotANumber, "{changes:?}");
        assert_eq!(at.load(&key).await.unwrap(), before, "{changes:?}");
    }
    assert_eq!(at.commit(&key, &[add("n", MOST - 7, false)]).await, Committed::Done);
    assert_eq!(at.field(&key, "n").await.unwrap(), MOST.to_string());
    assert_eq!(at.commit(&key, &[add("n", -MOST, false), add("n", 1 - MOST, false)]).await, Committed::Done);
    assert_eq!(at.field(&key, "n").await.unwrap(), (1 - MOST).to_string());
    let kept = [set("text", "5"), add("text", -5, false), add("zeros", 0, false)];
    assert_eq!(at.commit(&key, &kept).await, Committed::Done);
    assert_eq!(at.field(&key, "text").await.unwrap(), "0");
    assert_eq!(at.field(&key, "zeros").await.unwrap(), "-7");
}

pub(crate) async fn a_full_session_can_be_signed_in(at: &Fixture) {
    let fields: Vec<(String, String)> = (0..40).map(|at| (format!("f{at:02}"), "v".repeat(97))).collect();
    let mut full: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    let guest = at.given("guest", &full).await;
    full.extend([("!u", "[\"acme\",\"ada\"]"), ("!d", "phone"), ("!l", "line")]);
    let mut user = creation("user", &full);
    user.replaces = Some(replaced(&guest, 1));
    assert_eq!(at.create(&user).await, Created::Done);
    full.push(("more", ""));
    assert_eq!(at.create(&creation("more", &full)).await, Created::Full);
}

pub(crate) async fn a_list_keeps_its_newest_entries_in_order(at: &Fixture) {
    let key = at.given("a", &[]).await;
    let append = |entry: &str| Change::Append("list".to_owned(), entry.to_owned(), 3);
    for (entry, held) in [("1", "1"), ("\"a\"", "1\n\"a\""), ("{}", "1\n\"a\"\n{}"), ("4", "\"a\"\n{}\n4")] {
        assert_eq!(at.commit(&key, &[append(entry)]).await, Committed::Done);
        assert_eq!(at.field(&key, "list").await.as_deref(), Some(held));
    }
    let many: Vec<Change> = (5..9).map(|entry| append(&entry.to_string())).collect();
    assert_eq!(at.commit(&key, &many).await, Committed::Done);
    assert_eq!(at.field(&key, "list").await.as_deref(), Some("6\n7\n8"));
    // A shorter list, as of a newer version of the service.
    let one = Change::Append("list".to_owned(), "9".to_owned(), 1);
    assert_eq!(at.commit(&key, &[one]).await, Committed::Done);
    assert_eq!(at.field(&key, "list").await.as_deref(), Some("9"));
}

pub(crate) async fn a_field_is_taken_by_one(at: &Fixture) {
    let key = at.given("a", &[("notice", "hello")]).await;
    let take = |held: &str| Change::Swap("notice".to_owned(), Some(held.to_owned()), None);
    assert!(matches!(at.commit(&key, &[take("other")]).await, Committed::Conflict(_)));
    assert_eq!(at.commit(&key, &[take("hello")]).await, Committed::Done);
    assert_eq!(at.field(&key, "notice").await, None);
    let Committed::Conflict(now) = at.commit(&key, &[take("hello")]).await else { panic!("taken twice") };
    assert!(!now.0.contains_key("notice"));
    // An empty value is a value.
    let empty = Change::Swap("notice".to_owned(), None, Some(String::new()));
    assert_eq!(at.commit(&key, &[empty]).await, Committed::Done);
    assert_eq!(at.commit(&key, &[take("")]).await, Committed::Done);
}
