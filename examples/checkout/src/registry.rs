//! Which pods this process has, for pages that any of them may serve.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use scalekit::slo::Slo;

use crate::app::{Inner, Pod};

/// The pods by number. It keeps none of them alive: a pod that was killed is gone with all its pools.
#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<u32, Entry>>);

struct Entry {
    pod: Weak<Inner>,
    /// Stays after the pod's end, so that a scrape sees its last numbers until it is started again.
    slo: Slo,
}

impl Registry {
    /// Notes a pod that has started, in place of an earlier one of its number.
    pub(crate) fn enter(&self, pod: &Pod) {
        let entry = Entry { pod: Arc::downgrade(pod), slo: pod.slo.clone() };
        self.lock().insert(pod.number, entry);
    }

    /// The counters of all pods.
    pub(crate) fn slos(&self) -> Vec<Slo> {
        self.lock().values().map(|entry| entry.slo.clone()).collect()
    }

    /// The pods that live.
    pub(crate) fn pods(&self) -> Vec<Pod> {
        self.lock().values().filter_map(|entry| entry.pod.upgrade()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
