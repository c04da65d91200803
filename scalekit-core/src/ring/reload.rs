//! What becomes of a ring that gets other keys.

use std::sync::Arc;

use super::key::Key;

/// What a [reload](super::KeyRing::reload) has changed, by the ids of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reload {
    /// Keys that were not there before.
    pub added: Vec<String>,
    /// Keys that are not there any more.
    pub dropped: Vec<String>,
    /// The key that signs and seals from now on.
    pub signs: String,
    /// What the change breaks, or may break until all processes have made it.
    pub warning: Option<String>,
}

impl Reload {
    pub(super) fn between(before: &[Arc<Key>], after: &[Arc<Key>]) -> Self {
        let ids = |keys: &[Arc<Key>], without: &[Arc<Key>]| -> Vec<String> {
            let others = keys.iter().filter(|key| !without.iter().any(|other| other.id == key.id));
            others.map(|key| key.id.to_string()).collect()
        };
        let (added, dropped) = (ids(after, before), ids(before, after));
        let first = |keys: &[Arc<Key>]| keys.first().map(|key| key.id.to_string()).unwrap_or_default();
        let (signed, signs) = (first(before), first(after));
        let warning = if dropped.contains(&signed) {
            Some(format!(
                "the key {signed:?} signed until now and was dropped: nothing that it signed is accepted any more"
            ))
        } else if added.contains(&signs) {
            Some(format!(
                "the key {signs:?} signs without having been accepted before: processes that lack it refuse what it signs"
            ))
        } else {
            None
        };
        Self { added, dropped, signs, warning }
    }
}
