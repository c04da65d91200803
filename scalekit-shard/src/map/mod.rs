//! The map from slots to shards: parsed once, immutable, versioned.

mod form;
mod layout;
mod pins;

use std::{fmt, ops::RangeInclusive};

use scalekit_core::{
    Error, ErrorKind, Result,
    skh1::{self, SLOTS, ShardKey, Slot},
};

use self::{form::Form, layout::Layout, pins::Pins};

/// Which shard each of the 16,384 slots is on, and the keys that are pinned elsewhere.
///
/// A value of this type is whole: every slot has exactly one shard, every name exists and is given once. It is
/// read from JSON (which carries a checksum) or built from names, and never changes; a new version is a new value
/// with a higher epoch. The placement of a key is a hash, one bit test and one table load.
///
/// **Guarantee**: equal maps place every key on the same shard, in every process and version.
/// **Not guaranteed**: that the rows are there. Another map moves no data.
///
/// ```
/// use scalekit_shard::ShardMap;
///
/// let map = ShardMap::even(["eu", "us"])?.with_pin("acme", "us")?;
/// assert_eq!(map.name(map.place("acme").shard), "us");
/// assert_eq!(map.slots_of("eu"), 8192);
///
/// let json = serde_json::to_string(&map).unwrap();
/// assert_eq!(ShardMap::from_json(&json)?, map);
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct ShardMap {
    epoch: u64,
    names: Vec<Box<str>>,
    slots: Box<[ShardId]>,
    pins: Pins,
}

/// A shard's place in its map; an index that the map checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u16);

impl ShardId {
    /// Its place in [`ShardMap::names`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a key belongs, and by which version of the map; see [`ShardMap::place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// The key's slot; the same in every map.
    pub slot: Slot,
    /// The shard that holds the key.
    pub shard: ShardId,
    /// The map's epoch.
    pub epoch: u64,
    /// Whether a pin decided, not the slot.
    pub pinned: bool,
}

impl ShardMap {
    /// Splits the slots evenly, in the order of the names: no shard has more than one slot above another.
    ///
    /// Another number of names moves many slots, hence rows: for a map that has data, change its ranges instead.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] without a name, with one that is not 1 to 63 of `a-z A-Z 0-9 - _`, with one given
    /// twice, and with more than 16,384.
    pub fn even(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self> {
        let names = layout::names(names)?;
        let slots = layout::even(names.len())?;
        Ok(Self { epoch: 1, names, slots, pins: Pins::default() })
    }

    /// Gives each shard the slots of its ranges; a shard may have several.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if a slot has no shard or two, a range is empty or passes the last slot (16383), or a
    /// name is none.
    ///
    /// ```
    /// use scalekit_shard::ShardMap;
    ///
    /// let map = ShardMap::ranges([("eu", 0..=9_999), ("us", 10_000..=16_383)])?;
    /// assert_eq!((map.slots_of("eu"), map.slots_of("us")), (10_000, 6_384));
    ///
    /// let gap = ShardMap::ranges([("eu", 0..=9_999), ("us", 10_005..=16_383)]).unwrap_err();
    /// assert_eq!(gap.to_string(), "slots 10000 to 10004 have no shard");
    /// # Ok::<(), scalekit_core::Error>(())
    /// ```
    pub fn ranges(
        ranges: impl IntoIterator<Item = (impl Into<String>, RangeInclusive<u16>)>,
    ) -> Result<Self> {
        let ranges: Vec<_> = ranges.into_iter().map(|(name, range)| (name.into(), range)).collect();
        let mut distinct: Vec<&str> = Vec::new();
        for (name, _) in &ranges {
            if !distinct.contains(&name.as_str()) {
                distinct.push(name);
            }
        }
        let names = layout::names(distinct)?;
        let mut layout = Layout::new(&names);
        for (name, range) in &ranges {
            layout.give(name, range)?;
        }
        let slots = layout.whole()?;
        Ok(Self { epoch: 1, names, slots, pins: Pins::default() })
    }

    /// Reads the JSON form and verifies its checksum.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the fault: not JSON of this form, another checksum than was written, another
    /// placement than `skh1`, or what [`ranges`](Self::ranges) and [`with_pin`](Self::with_pin) refuse.
    pub fn from_json(json: &str) -> Result<Self> {
        let form: Form = serde_json::from_str(json).map_err(|error| {
            let message = format!("the shard map is not JSON of the expected form: {error}");
            Error::new(ErrorKind::Config, message)
        })?;
        form.try_into()
    }

    /// The same map with one more shard that has no slot: a home for pinned keys.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the name is none or is given already.
    pub fn with_shard(mut self, name: impl Into<String>) -> Result<Self> {
        let names = self.names.iter().map(|known| String::from(&**known)).chain([name.into()]);
        self.names = layout::names(names)?;
        Ok(self)
    }

    /// The same map with this key on this shard, whatever its slot; a later pin of a key replaces an earlier one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if there is no such shard, the key has more than 1,024 bytes, or there are 1,000,000
    /// pins already.
    pub fn with_pin(mut self, key: &(impl ShardKey + ?Sized), shard: &str) -> Result<Self> {
        let shard = self.id(shard)?;
        self.pins.add(skh1::key_bytes(key), shard)?;
        Ok(self)
    }

    /// The same map as this version; versions count from 1.
    #[must_use]
    pub fn with_epoch(mut self, epoch: u64) -> Self {
        self.epoch = epoch;
        self
    }

    /// Where a key belongs.
    pub fn place(&self, key: &(impl ShardKey + ?Sized)) -> Placement {
        let bytes = skh1::key_bytes(key);
        let hash = skh1::hash_bytes(&bytes);
        let slot = Slot::of_hash(hash);
        let pin = self.pins.find(slot, hash, &bytes);
        let shard = pin.unwrap_or_else(|| self.shard_of(slot));
        Placement { slot, shard, epoch: self.epoch, pinned: pin.is_some() }
    }

    /// The shard of a slot; pins aside.
    pub fn shard_of(&self, slot: Slot) -> ShardId {
        self.slots[usize::from(slot.get())]
    }

    /// The version.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The shards' names, in the order in which they were given.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// A shard's name.
    ///
    /// # Panics
    /// If the id is of a map with more shards than this one.
    pub fn name(&self, shard: ShardId) -> &str {
        &self.names[shard.index()]
    }

    /// How many slots a shard has; none if there is no such shard.
    pub fn slots_of(&self, name: &str) -> u16 {
        let Ok(shard) = self.id(name) else { return 0 };
        u16::try_from(self.slots.iter().filter(|of| **of == shard).count()).unwrap_or(SLOTS)
    }

    /// How many keys are pinned.
    pub fn pins(&self) -> usize {
        self.pins.iter().len()
    }

    fn id(&self, name: &str) -> Result<ShardId> {
        layout::find(&self.names, name)
    }
}

/// Shows no pinned key: it may be a tenant's name.
impl fmt::Debug for ShardMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ShardMap");
        out.field("epoch", &self.epoch).field("names", &self.names).field("pins", &self.pins());
        out.finish_non_exhaustive()
    }
}
