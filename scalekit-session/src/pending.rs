//! What a request has asked for and not yet committed: pure, without a store.

use std::{collections::BTreeMap, fmt, sync::Arc};

use scalekit_core::{Error, ErrorKind, Result};

use crate::store::{Change, Record, memory::appended};

/// Numbers up to this size add up in the stores without rounding or overflow.
pub(crate) const MAX_STEP: i64 = 1_000_000_000_000;
/// Changes that one request may record.
const MAX_CHANGES: usize = 256;

/// Makes a field's new value from its old one; runs again after a conflict.
pub(crate) type Rerun = Arc<dyn Fn(Option<&str>) -> Result<String> + Send + Sync>;

/// The changes by field, in the form that survives a change of the values below them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(BTreeMap<String, Wish>);

#[derive(Clone)]
enum Wish {
    Set(String),
    Remove,
    /// One after the other: with a floor, the order of a minus and a plus counts.
    Add {
        steps: Vec<i64>,
        floor: bool,
    },
    /// Entries in order, and how many the list keeps.
    Append {
        entries: Vec<String>,
        most: usize,
    },
    Update(Vec<Rerun>),
}

impl fmt::Debug for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Set(_) => "Set",
            Self::Remove => "Remove",
            Self::Add { .. } => "Add",
            Self::Append { .. } => "Append",
            Self::Update(_) => "Update",
        })
    }
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn set(&mut self, field: &str, value: String) -> Result<()> {
        self.put(field, Wish::Set(value))
    }

    pub(crate) fn remove(&mut self, field: &str) -> Result<()> {
        self.put(field, Wish::Remove)
    }

    pub(crate) fn add(&mut self, field: &str, by: i64, floor: bool) -> Result<()> {
        if by.unsigned_abs() > MAX_STEP.unsigned_abs() {
            return Err(Error::new(ErrorKind::Invalid, "a step is at most 10^12"));
        }
        let wish = match self.0.get(field) {
            None => Wish::Add { steps: vec![by], floor },
            Some(Wish::Add { steps, .. }) => Wish::Add { steps: joined(steps, by)?, floor },
            Some(known @ (Wish::Set(_) | Wish::Remove)) => {
                step(apply(known, None)?.as_deref(), by, floor)?.map_or(Wish::Remove, Wish::Set)
            }
            Some(Wish::Update(_) | Wish::Append { .. }) => return Err(mixed()),
        };
        self.put(field, wish)
    }

    pub(crate) fn append(&mut self, field: &str, entry: String, most: usize) -> Result<()> {
        let wish = match self.0.get(field) {
            None => Wish::Append { entries: vec![entry], most },
            Some(Wish::Append { entries, .. }) => {
                // What the list would drop need not travel.
                let kept = entries.len().saturating_sub(most - 1);
                Wish::Append { entries: entries[kept..].iter().cloned().chain([entry]).collect(), most }
            }
            Some(Wish::Set(list)) => Wish::Set(appended(Some(list), &entry, most)),
            Some(Wish::Remove) => Wish::Set(entry),
            Some(Wish::Add { .. } | Wish::Update(_)) => return Err(mixed()),
        };
        self.put(field, wish)
    }

    /// Records an update that gave this value; the closure does not run here.
    pub(crate) fn update(&mut self, field: &str, rerun: Rerun, value: &str) -> Result<()> {
        let wish = match self.0.get(field) {
            None => Wish::Update(vec![rerun]),
            Some(Wish::Update(known)) if known.len() < MAX_CHANGES => {
                Wish::Update(known.iter().cloned().chain([rerun]).collect())
            }
            Some(Wish::Set(_) | Wish::Remove) => Wish::Set(value.to_owned()),
            Some(Wish::Update(_)) => return Err(too_many()),
            Some(Wish::Add { .. } | Wish::Append { .. }) => return Err(mixed()),
        };
        self.put(field, wish)
    }

    /// All of these changes, then the newer ones; where a request has recorded too many, the newest are left out.
    pub(crate) fn then(mut self, newer: Self) -> Self {
        for (field, wish) in newer.0 {
            let wish = match (self.0.remove(&field), wish) {
                (Some(Wish::Add { mut steps, floor }), Wish::Add { steps: more, .. }) => {
                    steps.extend(more);
                    Wish::Add { steps, floor }
                }
                (Some(Wish::Append { entries, most }), Wish::Append { entries: more, .. }) => {
                    let entries: Vec<String> = entries.into_iter().chain(more).collect();
                    let kept = entries.len().saturating_sub(most);
                    Wish::Append { entries: entries[kept..].to_vec(), most }
                }
                (Some(Wish::Update(mut reruns)), Wish::Update(more)) => {
                    reruns.extend(more);
                    Wish::Update(reruns)
                }
                (
                    Some(known @ (Wish::Set(_) | Wish::Remove)),
                    later @ (Wish::Add { .. } | Wish::Append { .. } | Wish::Update(_)),
                ) => {
                    let value = apply(&known, None).and_then(|value| apply(&later, value.as_deref()));
                    value.map_or(known, |value| value.map_or(Wish::Remove, Wish::Set))
                }
                (_, later) => later,
            };
            self.0.insert(field, wish);
        }
        self
    }

    /// Whether both ask the same of a field, so that a value seen through one is the other's too.
    pub(crate) fn agrees(&self, other: &Self, field: &str) -> bool {
        match (self.0.get(field), other.0.get(field)) {
            (None, None) | (Some(Wish::Remove), Some(Wish::Remove)) => true,
            (Some(Wish::Set(one)), Some(Wish::Set(two))) => one == two,
            // Nothing but more closures, or one that decides, can follow a closure.
            (Some(Wish::Update(one)), Some(Wish::Update(two))) => one.len() == two.len(),
            _ => false,
        }
    }

    /// Leaves out what would be done twice if it had been done already.
    pub(crate) fn keep_repeatable(&mut self) {
        self.0.retain(|_, wish| matches!(wish, Wish::Set(_) | Wish::Remove));
    }

    /// Whether some change depends on what the field held.
    pub(crate) fn has_updates(&self) -> bool {
        self.0.values().any(|wish| matches!(wish, Wish::Update(_)))
    }

    /// Whether the field's value follows from the changes alone.
    pub(crate) fn decides(&self, field: &str) -> bool {
        matches!(self.0.get(field), Some(Wish::Set(_) | Wish::Remove))
    }

    /// Whether the field is changed at all.
    pub(crate) fn touches(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// A field as the request sees it, above what is stored.
    pub(crate) fn view(&self, field: &str, stored: Option<&str>) -> Result<Option<String>> {
        self.0.get(field).map_or_else(|| Ok(stored.map(str::to_owned)), |wish| apply(wish, stored))
    }

    /// All fields that start so, as the request sees them.
    pub(crate) fn view_all(&self, prefix: &str, stored: &Record) -> Result<BTreeMap<String, String>> {
        let below = stored.0.keys().chain(self.0.keys()).filter(|name| name.starts_with(prefix));
        let mut seen = BTreeMap::new();
        for name in below {
            if let Some(value) = self.view(name, stored.0.get(name).map(String::as_str))? {
                seen.insert(name.clone(), value);
            }
        }
        Ok(seen)
    }

    /// The changes to commit over what is stored.
    pub(crate) fn over(&self, stored: &Record) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for (field, wish) in &self.0 {
            let name = field.clone();
            match wish {
                Wish::Set(value) => changes.push(Change::Set(name, value.clone())),
                Wish::Remove => changes.push(Change::Remove(name)),
                Wish::Add { steps, floor } => {
                    changes.extend(steps.iter().map(|by| Change::Add(name.clone(), *by, *floor)));
                }
                Wish::Append { entries, most } => {
                    changes.extend(
                        entries.iter().map(|entry| Change::Append(name.clone(), entry.clone(), *most)),
                    );
                }
                Wish::Update(_) => {
                    let old = stored.0.get(field).cloned();
                    let new = apply(wish, old.as_deref())?;
                    changes.push(Change::Swap(name, old, new));
                }
            }
        }
        Ok(changes)
    }

    /// The fields of a session that does not exist yet.
    pub(crate) fn onto(&self, mut fields: BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
        for (field, wish) in &self.0 {
            match apply(wish, fields.get(field).map(String::as_str))? {
                Some(value) => fields.insert(field.clone(), value),
                None => fields.remove(field),
            };
        }
        Ok(fields)
    }

    fn put(&mut self, field: &str, wish: Wish) -> Result<()> {
        if self.0.len() >= MAX_CHANGES && !self.0.contains_key(field) {
            return Err(too_many());
        }
        self.0.insert(field.to_owned(), wish);
        Ok(())
    }
}

fn apply(wish: &Wish, stored: Option<&str>) -> Result<Option<String>> {
    let owned = |stored: Option<&str>| stored.map(str::to_owned);
    match wish {
        Wish::Set(value) => Ok(Some(value.clone())),
        Wish::Remove => Ok(None),
        Wish::Add { steps, floor } => {
            steps.iter().try_fold(owned(stored), |value, by| step(value.as_deref(), *by, *floor))
        }
        Wish::Append { entries, most } => Ok(entries
            .iter()
            .fold(owned(stored), |list, entry| Some(appended(list.as_deref(), entry, *most)))),
        Wish::Update(reruns) => {
            reruns.iter().try_fold(owned(stored), |value, rerun| rerun(value.as_deref()).map(Some))
        }
    }
}

/// One addition, as the stores do it.
fn step(value: Option<&str>, by: i64, floor: bool) -> Result<Option<String>> {
    let value = value.map_or(Some(0), |text| text.parse::<i64>().ok());
    let sum = value.and_then(|value| value.checked_add(by)).ok_or_else(not_a_number)?;
    Ok((!floor || sum > 0).then(|| sum.to_string()))
}

/// Steps of one sign become one.
fn joined(steps: &[i64], by: i64) -> Result<Vec<i64>> {
    let mut steps = steps.to_vec();
    let full = steps.len() >= MAX_CHANGES;
    match steps.last_mut() {
        Some(last) if last.signum() == by.signum() && (*last + by).abs() <= MAX_STEP => *last += by,
        _ if full => return Err(too_many()),
        _ => steps.push(by),
    }
    Ok(steps)
}

pub(crate) fn not_a_number() -> Error {
    Error::new(ErrorKind::Invalid, "a counter of the session holds no number, or would pass 10^15")
}

fn mixed() -> Error {
    Error::new(ErrorKind::Misuse, "one name is used as a counter and as a value")
}

fn too_many() -> Error {
    Error::new(ErrorKind::TooLarge, "a request may change at most 256 fields of a session")
}

#[cfg(test)]
mod tests;
