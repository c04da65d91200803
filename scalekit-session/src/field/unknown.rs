//! What a newer node has put into a value, and this one does not know: found by reading the value and writing it again.

use serde_json::{Map, Value};

/// A value that is to be stored, with what is unknown of the one that was stored.
///
/// `known` is what `before` becomes when it is read and written. Members that it lacks are kept, in objects within objects,
/// too. An element of an array keeps its own as long as it is not changed: which one a changed element was, nobody can say.
///
/// Some members are missing because this node knows them by another name, or has given them up. `means_the_same` says whether a
/// value would be read like the one that is to be stored; what would not is left out.
pub(super) fn kept(
    before: &Value,
    known: &Value,
    after: &Value,
    means_the_same: impl Fn(&Value) -> bool,
) -> Value {
    let with_all = merged(before, known, after.clone());
    if with_all == *after || means_the_same(&with_all) {
        return with_all;
    }
    let Value::Object(members) = before else { return after.clone() };
    members.iter().fold(after.clone(), |kept, (name, member)| {
        let one = Value::Object(Map::from_iter([(name.clone(), member.clone())]));
        let with_one = merged(&one, known, kept.clone());
        if means_the_same(&with_one) { with_one } else { kept }
    })
}

fn merged(before: &Value, known: &Value, after: Value) -> Value {
    match (before, known, after) {
        (Value::Object(before), Value::Object(known), Value::Object(mut after)) => {
            for (name, old) in before {
                match (known.get(name), after.get_mut(name)) {
                    (None, None) => drop(after.insert(name.clone(), old.clone())),
                    (Some(known), Some(new)) => *new = merged(old, known, new.take()),
                    // It was removed, or has come to be known.
                    (Some(_), None) | (None, Some(_)) => {}
                }
            }
            Value::Object(after)
        }
        (Value::Array(before), Value::Array(known), Value::Array(after)) if before.len() == known.len() => {
            let mut left: Vec<(&Value, &Value)> = known.iter().zip(before).collect();
            let elements =
                after.into_iter().map(|new| match left.iter().position(|(known, _)| **known == new) {
                    Some(at) => left.remove(at).1.clone(),
                    None => new,
                });
            Value::Array(elements.collect())
        }
        (_, _, after) => after,
    }
}
