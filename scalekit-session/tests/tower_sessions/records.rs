//! What comes back, until when, and what is refused.

use std::{collections::HashMap, hash::BuildHasher, time::Duration};

use scalekit_core::redis::cmd;
use scalekit_session::{RedisStore, TowerSessionStore};
use serde_json::{Value, json};
use time::{OffsetDateTime, UtcOffset};

use super::core::{
    SessionStore,
    session::{Id, Record},
    session_store::Error,
};
use crate::{common::patient, fixture::Fixture};

const HOUR: Duration = Duration::from_secs(3_600);
/// Spreads the bits of small numbers.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

fn record(expiry_date: OffsetDateTime, data: &[(&str, Value)]) -> Record {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Record { id: Id::default(), data, expiry_date }
}

fn nested(levels: usize) -> Value {
    (0..levels)
        .fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({"": inner}) })
}

#[tokio::test]
async fn values_and_dates_come_back_as_they_were() {
    for fixture in Fixture::all().await {
        let node = fixture.node();
        let date = fixture.within(HOUR) + Duration::from_nanos(123_456_789);
        let mut made = record(
            date.to_offset(UtcOffset::from_hms(5, 30, 0).unwrap()),
            &[
                ("!a", json!("0")),
                ("!e", json!(null)),
                ("", json!("")),
                (".", json!({"nul \u{0} \u{10ffff} \"\\\n": ["ü", {}, [], true, false]})),
                ("numbers", json!([0, -1, u64::MAX, i64::MIN, 1.0, -0.0, 0.1, f64::MAX, f64::MIN_POSITIVE])),
                ("deep", nested(127)),
            ],
        );
        // A quick reader of decimal numbers is off by a bit in some of so many.
        let seed: u64 = std::hash::RandomState::new().hash_one(0_u64);
        println!("seed {seed}");
        let floats =
            (0..2_000_u64).map(|at| f64::from_bits(seed.wrapping_add(at).wrapping_mul(ODD).rotate_left(29)));
        made.data.insert("floats".to_owned(), floats.filter(|one| one.is_finite()).collect());
        node.create(&mut made).await.unwrap();
        let read = fixture.node().load(&made.id).await.unwrap().unwrap();
        assert_eq!(read, made);
        let bits = |record: &Record| -> Vec<u64> {
            let floats = record.data["floats"].as_array().unwrap().iter();
            floats.map(|one| one.as_f64().unwrap().to_bits()).collect()
        };
        assert_eq!(bits(&read), bits(&made));

        let mut read = read;
        read.data = [("only".to_owned(), json!({"left": 1}))].into();
        node.save(&read).await.unwrap();
        assert_eq!(fixture.node().load(&made.id).await.unwrap().unwrap(), read);
        read.data.clear();
        node.save(&read).await.unwrap();
        assert_eq!(node.load(&made.id).await.unwrap().unwrap(), read);
        node.delete(&made.id).await.unwrap();
        assert_eq!(node.load(&made.id).await.unwrap(), None);
        node.delete(&made.id).await.unwrap();
    }
}

#[tokio::test]
async fn a_value_that_could_not_be_read_again_is_refused_and_nothing_is_written() {
    for fixture in Fixture::all().await {
        let node = fixture.node();
        let mut deep = record(fixture.within(HOUR), &[("deep", nested(128))]);
        assert!(matches!(node.create(&mut deep).await, Err(Error::Encode(_))));
        assert_eq!(node.load(&deep.id).await.unwrap(), None);

        let mut made = record(fixture.within(HOUR), &[("a", json!(1))]);
        node.create(&mut made).await.unwrap();
        let mut bad = node.load(&made.id).await.unwrap().unwrap();
        bad.data.insert("a".to_owned(), json!(2));
        bad.data.insert("deep".to_owned(), nested(128));
        assert!(matches!(node.save(&bad).await, Err(Error::Encode(_))));
        assert_eq!(node.load(&made.id).await.unwrap().unwrap(), made);
    }
}

#[tokio::test]
async fn a_session_lives_to_its_date_and_a_save_moves_that() {
    for fixture in Fixture::all().await {
        let node = fixture.node();
        let mut made = record(fixture.within(HOUR), &[("a", json!(1))]);
        node.create(&mut made).await.unwrap();
        // Saves that gain too little for the store to move its own deadline.
        for _ in 0..30 {
            fixture.clock.advance(HOUR / 15);
            let mut read = node.load(&made.id).await.unwrap().expect("before its date");
            read.expiry_date = fixture.within(HOUR);
            node.save(&read).await.unwrap();
        }
        fixture.clock.advance(HOUR - Duration::from_millis(1));
        let mut read = node.load(&made.id).await.unwrap().expect("a moment before its date");
        fixture.clock.advance(Duration::from_millis(1));
        assert_eq!(node.load(&made.id).await.unwrap(), None);

        // Nearer, and farther than any store counts.
        read.id = Id::default();
        read.expiry_date = fixture.within(HOUR);
        node.create(&mut read).await.unwrap();
        read.expiry_date = fixture.within(HOUR / 60);
        node.save(&read).await.unwrap();
        fixture.clock.advance(HOUR / 60);
        assert_eq!(node.load(&read.id).await.unwrap(), None);
        read.id = Id::default();
        read.expiry_date = time::Date::MAX.midnight().assume_utc();
        node.create(&mut read).await.unwrap();
        assert_eq!(node.load(&read.id).await.unwrap().unwrap(), read);

        // Past ones end a session, and begin none.
        read.expiry_date = fixture.within(Duration::ZERO);
        node.save(&read).await.unwrap();
        assert_eq!(node.load(&read.id).await.unwrap(), None);
        let mut past = record(OffsetDateTime::UNIX_EPOCH - HOUR, &[("a", json!(1))]);
        node.create(&mut past).await.unwrap();
        assert_eq!(node.load(&past.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn redis_forgets_a_session_soon_after_its_date_and_not_before() {
    let fixture = Fixture::redis().await;
    let (node, server) = (fixture.node(), fixture.server.as_ref().unwrap());
    let redis = patient(&server.url());
    let mut made = record(fixture.within(HOUR), &[("a", json!(1))]);
    node.create(&mut made).await.unwrap();
    let key = server.keys().await.pop().unwrap();
    // Each gains 0.2 %, 2 %, 9 %, 11 % ..: whatever the store makes of it, what is left is enough and not much more.
    let mut left = HOUR;
    for more in [7_u64, 80, 330, 400, 4_000, 3, 86_400] {
        left += Duration::from_secs(more);
        let mut read = node.load(&made.id).await.unwrap().unwrap();
        read.expiry_date = fixture.within(left);
        node.save(&read).await.unwrap();
        let ttl: u64 = redis.query(cmd("PTTL").arg(&key)).await.unwrap();
        let wanted = u64::try_from(left.as_millis()).unwrap();
        // The machine's clock goes on, the test's stands still.
        assert!((wanted - 20_000..=wanted + wanted / 9 + 5).contains(&ttl), "{ttl} for {wanted}");
        let before: u64 = redis.query(cmd("PTTL").arg(&key)).await.unwrap();
        node.load(&made.id).await.unwrap().unwrap();
        let after: u64 = redis.query(cmd("PTTL").arg(&key)).await.unwrap();
        assert!(after <= before, "a load moved the deadline from {before} to {after}");
    }
}

#[tokio::test]
async fn an_id_that_is_taken_is_replaced_and_its_session_stays() {
    for fixture in Fixture::all().await {
        let node = fixture.node();
        let mut first = record(fixture.within(HOUR), &[("whose", json!("first"))]);
        node.create(&mut first).await.unwrap();
        let mut second = record(fixture.within(HOUR), &[("whose", json!("second"))]);
        second.id = first.id;
        node.create(&mut second).await.unwrap();
        assert_ne!(second.id, first.id);
        assert_eq!(node.load(&first.id).await.unwrap().unwrap(), first);
        assert_eq!(node.load(&second.id).await.unwrap().unwrap(), second);
    }
}

#[tokio::test]
async fn what_grows_beyond_a_limit_is_refused_and_may_shrink() {
    for fixture in Fixture::all().await {
        let node = fixture.node().size(3, 200).unwrap();
        let many: Vec<String> = (0..4).map(|at| format!("k{at}")).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), json!(1))).collect();
        let mut over = record(fixture.within(HOUR), &many);
        assert!(matches!(node.create(&mut over).await, Err(Error::Backend(_))));
        let mut made = record(fixture.within(HOUR), &many[..3]);
        node.create(&mut made).await.unwrap();
        let mut read = node.load(&made.id).await.unwrap().unwrap();
        read.data.insert("long".to_owned(), json!("x".repeat(300)));
        assert!(matches!(node.save(&read).await, Err(Error::Backend(_))));
        assert_eq!(node.load(&made.id).await.unwrap().unwrap(), made);
        read.data = HashMap::from([("long".to_owned(), json!("x".repeat(100)))]);
        node.save(&read).await.unwrap();
        assert_eq!(node.load(&made.id).await.unwrap().unwrap(), read);
    }
}

#[tokio::test]
async fn nothing_in_redis_and_nothing_printed_opens_a_session() {
    let fixture = Fixture::redis().await;
    let (node, server) = (fixture.node(), fixture.server.as_ref().unwrap());
    let mut printed = String::new();
    let mut ids = Vec::new();
    for at in 0..20 {
        let mut made = record(fixture.within(HOUR), &[("at", json!(at))]);
        node.create(&mut made).await.unwrap();
        let mut read = node.load(&made.id).await.unwrap().unwrap();
        read.data.insert("more".to_owned(), json!("content-of-it"));
        node.save(&read).await.unwrap();
        read.data.insert("deep".to_owned(), nested(200));
        printed += &format!("{node:?} {}", node.save(&read).await.unwrap_err());
        ids.push(made.id);
    }
    let dump = server.dump_everything().await;
    assert_eq!(server.keys().await.len(), 20);
    let holds = |text: &[u8]| dump.windows(text.len()).any(|window| window == text);
    assert!(holds(b"content-of-it"), "the dump shows what is stored");
    for Id(id) in ids {
        let bytes = id.to_le_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let reversed: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        let cookie = Id(id).to_string();
        assert!(!holds(&bytes) && !holds(&id.to_be_bytes()));
        for spelling in [&cookie[..12], &cookie[10..], &hex.to_uppercase(), &hex, &reversed, &id.to_string()]
        {
            assert!(!holds(spelling.as_bytes()) && !printed.contains(spelling), "{spelling}");
        }
    }
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_and_no_empty_session() {
    let fixture = Fixture::redis().await;
    let server = fixture.server.as_ref().unwrap();
    let node = TowerSessionStore::new(RedisStore::new(patient(&server.url())));
    let mut made = record(OffsetDateTime::now_utc() + HOUR, &[("a", json!(1))]);
    node.create(&mut made).await.unwrap();
    let mut read = node.load(&made.id).await.unwrap().unwrap();
    read.data.insert("b".to_owned(), json!(2));
    server.kill().await;
    assert!(matches!(node.load(&made.id).await, Err(Error::Backend(_))));
    assert!(matches!(node.save(&read).await, Err(Error::Backend(_))));
    assert!(matches!(node.delete(&made.id).await, Err(Error::Backend(_))));
    assert!(matches!(node.create(&mut made).await, Err(Error::Backend(_))));
    assert_eq!(node.metrics().dropped, 0);
}
