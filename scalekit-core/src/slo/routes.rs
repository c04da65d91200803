//! Where a request is counted: one slot per route and method, found without a lock and bounded in number.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use http::Method;

use super::bounds::Bounds;
use super::exposition::push_label;
use super::objective::ObjectiveSet;
use super::slot::{Judged, Slot};

/// How many routes have series of their own; those that come later are counted together as `<other>`.
///
/// ```
/// // Each route has at most ten methods: the nine of the standards and `_OTHER`.
/// assert_eq!(scalekit_core::slo::MAX_ROUTES, 256);
/// ```
pub const MAX_ROUTES: usize = 256;

const UNMATCHED: &str = "<unmatched>";
const OTHER: &str = "<other>";

const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "_OTHER"];
pub(super) const OTHER_METHOD: usize = METHODS.len() - 1;

/// The place of a method among the nine known ones and `_OTHER`: clients choose methods freely.
pub(super) fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

/// All slots of one [`Slo`](super::Slo).
pub(super) struct Routes {
    /// Replaced as a whole when a route is seen for the first time, so that readers never wait.
    known: ArcSwap<HashMap<Arc<str>, Arc<Route>>>,
    grow: Mutex<()>,
    unmatched: Route,
    other: Route,
}

struct Route {
    label: Arc<str>,
    judged: [Option<Judged>; METHODS.len()],
    slots: [OnceLock<Arc<Slot>>; METHODS.len()],
}

impl Routes {
    /// Makes the slots of every declared route.
    pub(super) fn new(set: &ObjectiveSet, bounds: &Bounds) -> Self {
        let mut judged: HashMap<&str, [Option<Judged>; METHODS.len()]> = HashMap::new();
        for (objective, declared) in set.objectives().iter().enumerate() {
            let terms = declared.terms();
            for (method, route) in &declared.routes {
                let place = judged.entry(route.as_str()).or_default();
                place[method_index(method)] = Some(Judged { objective, terms });
            }
        }
        let known = judged.into_iter().map(|(label, judged)| {
            let route = Route::new(label.into(), judged);
            for (method, _) in judged.iter().enumerate().filter(|(_, judged)| judged.is_some()) {
                route.slot(method, bounds);
            }
            (route.label.clone(), Arc::new(route))
        });
        Self {
            known: ArcSwap::from_pointee(known.collect()),
            grow: Mutex::new(()),
            unmatched: Route::new(UNMATCHED.into(), Default::default()),
            other: Route::new(OTHER.into(), Default::default()),
        }
    }

    /// The slot of a request.
    pub(super) fn slot(&self, route: Option<&str>, method: &Method, bounds: &Bounds) -> Arc<Slot> {
        let method = method_index(method);
        match route {
            None | Some(UNMATCHED) => self.unmatched.slot(method, bounds),
            Some(OTHER) => self.other.slot(method, bounds),
            Some(label) => {
                let known = self.known.load();
                if let Some(route) = known.get(label) {
                    return route.slot(method, bounds);
                }
                if known.len() >= MAX_ROUTES {
                    return self.other.slot(method, bounds);
                }
                drop(known);
                match self.learn(label) {
                    Some(route) => route.slot(method, bounds),
                    None => self.other.slot(method, bounds),
                }
            }
        }
    }

    /// Every slot there is, by route and method.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        let known = self.known.load();
        let mut routes: Vec<&Route> = known.values().map(Arc::as_ref).collect();
        routes.sort_unstable_by(|a, b| a.label.cmp(&b.label));
        routes.extend([&self.unmatched, &self.other]);
        routes.into_iter().flat_map(|route| route.slots.iter()).filter_map(OnceLock::get).cloned().collect()
    }

    /// Adds a route, at most [`MAX_ROUTES`] times in the life of a process.
    fn learn(&self, label: &str) -> Option<Arc<Route>> {
        let _one_at_a_time = self.grow.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load_full();
        if let Some(route) = known.get(label) {
            return Some(route.clone());
        }
        if known.len() >= MAX_ROUTES {
            return None;
        }
        let route = Arc::new(Route::new(label.into(), Default::default()));
        let mut grown = HashMap::clone(&known);
        grown.insert(route.label.clone(), route.clone());
        self.known.store(Arc::new(grown));
        Some(route)
    }
}

impl Route {
    fn new(label: Arc<str>, judged: [Option<Judged>; METHODS.len()]) -> Self {
        Self { label, judged, slots: Default::default() }
    }

    fn slot(&self, method: usize, bounds: &Bounds) -> Arc<Slot> {
        self.slots[method]
            .get_or_init(|| {
                let name = METHODS[method];
                let mut labels = String::new();
                push_label(&mut labels, "http_request_method", name);
                push_label(&mut labels, "http_route", &self.label);
                Arc::new(Slot::new(name, self.label.clone(), labels, self.judged[method], bounds))
            })
            .clone()
    }
}
