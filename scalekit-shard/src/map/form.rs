//! The JSON form of a map: ranges, pins as hex, and a checksum over both.

use std::fmt::Write;

use scalekit_core::{Error, Result, skh1};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    ShardMap,
    layout::{self, Layout, config},
    pins::Pins,
};

/// What is written; `checksum` is the SHA-256 of the compact JSON of all of it with an empty `checksum`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    hash: String,
    epoch: u64,
    shards: Vec<String>,
    ranges: Vec<Range>,
    #[serde(default)]
    pins: Vec<Pin>,
    checksum: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    shard: String,
    from: u16,
    to: u16,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    key: String,
    shard: String,
}

impl From<ShardMap> for Form {
    fn from(map: ShardMap) -> Self {
        let mut ranges: Vec<Range> = Vec::new();
        for slot in skh1::Slot::all() {
            let shard = map.name(map.shard_of(slot));
            match ranges.last_mut() {
                Some(last) if last.shard == shard => last.to = slot.get(),
                _ => ranges.push(Range { shard: shard.into(), from: slot.get(), to: slot.get() }),
            }
        }
        let pin = |pin: &super::pins::Pin| Pin { key: hex(&pin.key), shard: map.name(pin.shard).into() };
        let mut form = Self {
            hash: skh1::NAME.into(),
            epoch: map.epoch(),
            shards: map.names().map(Into::into).collect(),
            ranges,
            pins: map.pins.iter().map(pin).collect(),
            checksum: String::new(),
        };
        form.checksum = form.sum();
        form
    }
}

impl TryFrom<Form> for ShardMap {
    type Error = Error;

    fn try_from(form: Form) -> Result<Self> {
        if form.hash != skh1::NAME {
            let (other, ours) = (form.hash, skh1::NAME);
            return Err(config(format!("the shard map places keys by {other:?}, this program by {ours:?}")));
        }
        let written = form.checksum;
        let form = Form { checksum: String::new(), ..form };
        let actual = form.sum();
        if written != actual {
            return Err(config(format!(
                "the shard map was changed after it was written: its checksum is {actual}, the written one is {written:?}"
            )));
        }
        let names = layout::names(form.shards)?;
        let mut layout = Layout::new(&names);
        for Range { shard, from, to } in &form.ranges {
            layout.give(shard, &(*from..=*to))?;
        }
        let slots = layout.whole()?;
        let mut pins = Pins::default();
        let read = |pin: &Pin| Ok((unhex(&pin.key)?, layout::find(&names, &pin.shard)?));
        pins.extend(form.pins.iter().map(read).collect::<Result<Vec<_>>>()?)?;
        Ok(Self { epoch: form.epoch, names, slots, pins })
    }
}

impl Form {
    /// The checksum of a form whose own is still empty.
    fn sum(&self) -> String {
        // Only maps with keys that are no text cannot be written, and this one has none.
        let json = serde_json::to_vec(self).unwrap_or_default();
        hex(&Sha256::digest(json))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
    bytes.ok_or_else(|| config("a pinned key is not hexadecimal"))
}
