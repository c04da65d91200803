//! What is recorded means what the calls mean, over any base.

use proptest::prelude::*;

use super::*;
use crate::store::memory::make;

#[derive(Clone, Debug)]
enum Call {
    Set(u8, i64),
    Remove(u8),
    Add(u8, i64, bool),
    Update(u8, i64),
    Append(i64),
}

const LIST: &str = "list";
const MOST: usize = 3;

/// Fields 0 and 1 are plain numbers that are also updated, 2 is a counter, 3 is one with a floor.
fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        (0..4_u8, 1..9_i64).prop_map(|(field, value)| Call::Set(field, value)),
        (0..4_u8).prop_map(Call::Remove),
        (2..4_u8, -9..9_i64).prop_map(|(field, by)| Call::Add(field, by, field == 3)),
        (0..2_u8, 1..9_i64).prop_map(|(field, by)| Call::Update(field, by)),
        (1..9_i64).prop_map(Call::Append),
    ]
}

fn record(call: &Call, pending: &mut Pending) -> Result<()> {
    match *call {
        Call::Set(field, value) => pending.set(&field.to_string(), value.to_string()),
        Call::Remove(field) => pending.remove(&field.to_string()),
        Call::Add(field, by, floor) => pending.add(&field.to_string(), by, floor),
        Call::Append(entry) => pending.append(LIST, entry.to_string(), MOST),
        Call::Update(field, by) => {
            let rerun: Rerun = Arc::new(move |old| plus(old, by));
            let value = match pending.decides(&field.to_string()) {
                true => rerun(pending.view(&field.to_string(), None)?.as_deref())?,
                false => String::new(),
            };
            pending.update(&field.to_string(), rerun, &value)
        }
    }
}

/// Not commutative, so that order and number of runs show.
fn plus(old: Option<&str>, by: i64) -> Result<String> {
    let old: i64 = old.map_or(Ok(0), str::parse).map_err(|_| not_a_number())?;
    Ok(((old * 3 + by) % 1_000_003).to_string())
}

/// What the calls mean, one after the other.
fn model(fields: &mut BTreeMap<String, String>, call: &Call) {
    let change = match *call {
        Call::Set(field, value) => Change::Set(field.to_string(), value.to_string()),
        Call::Remove(field) => Change::Remove(field.to_string()),
        Call::Add(field, by, floor) => Change::Add(field.to_string(), by, floor),
        Call::Append(entry) => Change::Append(LIST.to_owned(), entry.to_string(), MOST),
        Call::Update(field, by) => {
            let name = field.to_string();
            let new = plus(fields.get(&name).map(String::as_str), by).unwrap();
            Change::Set(name, new)
        }
    };
    make(fields, &change);
}

proptest! {
    #[test]
    fn what_is_seen_is_what_is_committed_over_any_base(
        calls in prop::collection::vec(call(), 0..40),
        first in prop::collection::btree_map(0..4_u8, 1..99_i64, 0..4),
        second in prop::collection::btree_map(0..4_u8, 1..99_i64, 0..4),
    ) {
        let mut pending = Pending::default();
        calls.iter().try_for_each(|call| record(call, &mut pending)).unwrap();
        // Over what was loaded, and over what another request has left meanwhile.
        for base in [first, second] {
            let base = base.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            let stored = Record(base);
            let mut expected = stored.0.clone();
            calls.iter().for_each(|call| model(&mut expected, call));

            let mut committed = stored.0.clone();
            pending.over(&stored).unwrap().iter().for_each(|change| make(&mut committed, change));
            prop_assert_eq!(&committed, &expected);
            prop_assert_eq!(&pending.onto(stored.0.clone()).unwrap(), &expected);
            prop_assert_eq!(&pending.view_all("", &stored).unwrap(), &expected);
        }
    }
}

proptest! {
    #[test]
    fn what_was_kept_back_goes_before_what_came_since(
        calls in prop::collection::vec(call(), 0..40),
        at in 0_usize..40,
        first in prop::collection::btree_map(0..4_u8, 1..99_i64, 0..4),
    ) {
        let (before, since) = calls.split_at(at.min(calls.len()));
        let [mut one, mut two] = <[Pending; 2]>::default();
        before.iter().try_for_each(|call| record(call, &mut one)).unwrap();
        since.iter().try_for_each(|call| record(call, &mut two)).unwrap();
        let stored = Record(first.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect());
        let mut expected = stored.0.clone();
        calls.iter().for_each(|call| model(&mut expected, call));
        prop_assert_eq!(one.then(two).onto(stored.0).unwrap(), expected);
    }
}

#[test]
fn a_request_cannot_record_without_end() {
    let mut pending = Pending::default();
    for at in 0..MAX_CHANGES {
        pending.set(&at.to_string(), String::new()).unwrap();
    }
    assert_eq!(pending.set("more", String::new()).unwrap_err().kind(), ErrorKind::TooLarge);
    pending.set("0", String::new()).unwrap();
    let mut steps = Pending::default();
    let refused = (0..2_000).find_map(|at| steps.add("n", if at % 2 == 0 { 1 } else { -1 }, true).err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::TooLarge);
    let mut updates = Pending::default();
    let rerun: Rerun = Arc::new(|_| Ok(String::new()));
    let refused = (0..2_000).find_map(|_| updates.update("n", rerun.clone(), "").err());
    assert_eq!(refused.unwrap().kind(), ErrorKind::TooLarge);
    assert_eq!(updates.add("n", 1, false).unwrap_err().kind(), ErrorKind::Misuse);
    assert!(steps.add("m", MAX_STEP + 1, false).is_err() && steps.add("m", -MAX_STEP, false).is_ok());
}
