//! Names and ranges, checked while they become a table: every slot gets exactly one shard.

use std::{collections::HashSet, ops::RangeInclusive};

use scalekit_core::{Error, ErrorKind, Result, skh1::SLOTS};

use super::ShardId;

/// How long a shard's name may be; it is a label of metrics and part of stream names.
const NAME_BYTES: usize = 63;

/// A table that is being filled.
pub(super) struct Layout<'a> {
    names: &'a [Box<str>],
    slots: Vec<Option<ShardId>>,
}

impl<'a> Layout<'a> {
    pub(super) fn new(names: &'a [Box<str>]) -> Self {
        Self { names, slots: vec![None; usize::from(SLOTS)] }
    }

    pub(super) fn give(&mut self, name: &str, range: &RangeInclusive<u16>) -> Result<()> {
        let shard = find(self.names, name)?;
        if range.is_empty() {
            let (from, to) = (range.start(), range.end());
            return Err(config(format!("the range {from} to {to} of shard {name:?} is empty")));
        }
        if *range.end() >= SLOTS {
            let (last, to) = (SLOTS - 1, range.end());
            return Err(config(format!(
                "a range of shard {name:?} ends at {to}, but the last slot is {last}"
            )));
        }
        for slot in range.clone() {
            if let Some(other) = self.slots[usize::from(slot)].replace(shard) {
                let other = &self.names[other.index()];
                return Err(config(format!("slot {slot} is given to {other:?} and to {name:?}")));
            }
        }
        Ok(())
    }

    /// The table, if no slot is left over.
    pub(super) fn whole(self) -> Result<Box<[ShardId]>> {
        if let Some(from) = self.slots.iter().position(Option::is_none) {
            let gap = self.slots[from..].iter().take_while(|slot| slot.is_none()).count();
            let to = from + gap - 1;
            return Err(config(match gap {
                1 => format!("slot {from} has no shard"),
                _ => format!("slots {from} to {to} have no shard"),
            }));
        }
        Ok(self.slots.into_iter().flatten().collect())
    }
}

/// An even split, in ranges.
pub(super) fn even(shards: usize) -> Result<Box<[ShardId]>> {
    let shard_of = |slot: usize| u16::try_from(slot * shards / usize::from(SLOTS)).map(ShardId);
    let slots: Result<_, _> = (0..usize::from(SLOTS)).map(shard_of).collect();
    slots.map_err(|_| too_many(shards))
}

pub(super) fn names(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Vec<Box<str>>> {
    let names: Vec<Box<str>> = names.into_iter().map(|name| name.into().into_boxed_str()).collect();
    if names.is_empty() {
        return Err(config("a shard map needs at least one shard"));
    }
    if names.len() > usize::from(SLOTS) {
        return Err(too_many(names.len()));
    }
    let mut seen = HashSet::new();
    for name in &names {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(plain) {
            let shown: String = name.chars().take(NAME_BYTES).collect();
            return Err(config(format!(
                "{shown:?} cannot name a shard: use 1 to {NAME_BYTES} of a-z A-Z 0-9 - _"
            )));
        }
        if !seen.insert(name) {
            return Err(config(format!("two shards are named {name:?}")));
        }
    }
    Ok(names)
}

pub(super) fn find(names: &[Box<str>], name: &str) -> Result<ShardId> {
    let id = names.iter().position(|known| **known == *name).and_then(|at| u16::try_from(at).ok());
    id.map(ShardId)
        .ok_or_else(|| config(format!("there is no shard {name:?}; there are {}", names.join(", "))))
}

pub(super) fn config(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Config, message)
}

fn too_many(shards: usize) -> Error {
    config(format!("{shards} shards are more than there are slots, {SLOTS}"))
}
