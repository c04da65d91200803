//! One event of a key at a time: which may be handled now, and which wait for it.
//!
//! Whoever takes events in owns one of these and tells it of every arrival and every end, so no moment is left in
//! which a key looks free while the fate of its last event is not written down yet.
//!
//! | the key is | an event arrives | the one in work is done | it is set aside | the key is resumed |
//! |---|---|---|---|---|
//! | free | is in work | | | |
//! | in work | waits | the next is in work, or the key is free | it waits in front, the key is aside | |
//! | aside | waits | | | the first that waits is in work |

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// The keys that are not free.
#[derive(Debug)]
pub(crate) struct Keys<K, E>(HashMap<K, Key<E>>);

#[derive(Debug)]
struct Key<E> {
    aside: bool,
    waiting: VecDeque<E>,
}

impl<K, E> Default for Keys<K, E> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq, E> Keys<K, E> {
    /// Takes an event in; given back, it is in work from now on.
    pub(crate) fn arrive(&mut self, key: K, event: E) -> Option<E> {
        if let Some(busy) = self.0.get_mut(&key) {
            busy.waiting.push_back(event);
            return None;
        }
        self.0.insert(key, Key { aside: false, waiting: VecDeque::new() });
        Some(event)
    }

    /// The event in work is over; the next one is in work from now on.
    pub(crate) fn done(&mut self, key: &K) -> Option<E> {
        let next = self.0.get_mut(key)?.waiting.pop_front();
        if next.is_none() {
            self.0.remove(key);
        }
        next
    }

    /// Puts the event in work back in front of those that wait, and has all of them wait until the key is resumed.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "relays keep what the memory sink sets aside")
    )]
    pub(crate) fn set_aside(&mut self, key: &K, event: E) {
        if let Some(key) = self.0.get_mut(key) {
            key.waiting.push_front(event);
            key.aside = true;
        }
    }

    /// Puts the first event of a key that is aside in work.
    #[cfg_attr(
        not(feature = "redis"),
        allow(dead_code, reason = "relays keep what the memory sink sets aside")
    )]
    pub(crate) fn resume(&mut self, key: &K) -> Option<E> {
        let key = self.0.get_mut(key).filter(|key| key.aside)?;
        key.aside = false;
        key.waiting.pop_front()
    }

    /// Forgets the key: what was in work or waits will arrive again.
    pub(crate) fn forget(&mut self, key: &K) -> VecDeque<E> {
        self.0.remove(key).map(|key| key.waiting).unwrap_or_default()
    }

    /// Those that wait, in order.
    #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only streams can be read twice"))]
    pub(crate) fn waiting(&mut self, key: &K) -> &mut [E] {
        self.0.get_mut(key).map_or(&mut [], |key| key.waiting.make_contiguous())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Arrive,
        Done,
        SetAside,
        Resume,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![Just(Step::Arrive), Just(Step::Done), Just(Step::SetAside), Just(Step::Resume)]
    }

    proptest! {
        /// Whatever happens in whatever order: at most one event of a key is in work, each is done once, in order.
        #[test]
        fn events_of_a_key_are_done_in_order_and_one_at_a_time(
            steps in prop::collection::vec((0..3_usize, step()), 1..200),
        ) {
            let mut keys = Keys::default();
            let mut arrived = [0_u32; 3];
            let mut done = [0_u32; 3];
            let mut in_work = [None; 3];
            for (key, step) in steps {
                let before: Option<u32> = in_work[key];
                let next = match (step, before) {
                    (Step::Arrive, _) => {
                        arrived[key] += 1;
                        keys.arrive(key, arrived[key])
                    }
                    (Step::Done, Some(event)) => {
                        prop_assert_eq!(event, done[key] + 1);
                        done[key] = event;
                        in_work[key] = None;
                        keys.done(&key)
                    }
                    (Step::SetAside, Some(event)) => {
                        in_work[key] = None;
                        keys.set_aside(&key, event);
                        None
                    }
                    (Step::Resume, _) => keys.resume(&key),
                    (Step::Done | Step::SetAside, None) => None,
                };
                if let Some(next) = next {
                    prop_assert!(in_work[key].is_none(), "two of a key are in work");
                    in_work[key] = Some(next);
                }
            }
            for key in 0..3 {
                while done[key] < arrived[key] {
                    let event = in_work[key].take().or_else(|| keys.resume(&key));
                    prop_assert_eq!(event, Some(done[key] + 1), "nothing is lost");
                    done[key] += 1;
                    in_work[key] = keys.done(&key);
                }
                prop_assert!(in_work[key].is_none());
            }
            prop_assert!(keys.0.is_empty(), "a key at rest takes no memory");
        }
    }

    #[test]
    fn a_key_that_is_forgotten_is_free() {
        let mut keys = Keys::default();
        assert_eq!(keys.arrive("a", 1), Some(1));
        assert_eq!(keys.arrive("a", 2), None);
        assert_eq!(keys.forget(&"a"), [2]);
        assert_eq!(keys.arrive("a", 1), Some(1));
        assert_eq!(keys.resume(&"a"), None, "a key in work cannot be resumed");
    }
}
