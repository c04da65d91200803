//! Where a request is counted: one slot per route and method, found without a lock and bounded in number.

use std::collections::BTreeMap;
use std::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::Method;
use twox_hash::XxHash3_64;

use super::bounds::Bounds;
use super::journey::Journey;
use super::set::ObjectiveSet;
use super::slot::{Promises, Slot};

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
    match *method {
        Method::GET => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::DELETE => 3,
        Method::PATCH => 4,
        Method::HEAD => 5,
        Method::OPTIONS => 6,
        Method::TRACE => 7,
        Method::CONNECT => 8,
        _ => OTHER_METHOD,
    }
}

/// Twice as many places as routes: looking for a label ends after a step or two, and always at an empty place.
const PLACES: usize = 2 * MAX_ROUTES;
const UNMATCHED_PLACE: usize = PLACES;
const OTHER_PLACE: usize = PLACES + 1;

/// All slots of one [`Slo`](super::Slo): a hash table that only grows, so that readers need no lock and no copy.
pub(super) struct Routes {
    /// A route stands at the place of its hash or at the first empty one after it, for ever.
    places: Box<[OnceLock<Box<Route>>]>,
    known: AtomicUsize,
    grow: Mutex<()>,
    unmatched: Route,
    other: Route,
    bounds: Arc<Bounds>,
}

struct Route {
    label: Arc<str>,
    slots: [OnceLock<Arc<Slot>>; METHODS.len()],
}

impl Routes {
    /// Makes the slots of every declared route.
    pub(super) fn new(set: &ObjectiveSet, journeys: &[Arc<Journey>], bounds: &Arc<Bounds>) -> Self {
        let routes = Self {
            places: std::iter::repeat_with(OnceLock::new).take(PLACES).collect(),
            known: AtomicUsize::new(0),
            grow: Mutex::new(()),
            unmatched: Route::new(UNMATCHED),
            other: Route::new(OTHER),
            bounds: bounds.clone(),
        };
        let mut declared: BTreeMap<(&str, usize), Promises> = BTreeMap::new();
        for (at, objective) in set.objectives().iter().enumerate() {
            let journey = journeys.iter().find(|journey| journey.objective == at);
            for (method, route) in &objective.routes {
                let promises = declared.entry((route.as_str(), method_index(method))).or_default();
                promises.add(at, objective, journey);
            }
        }
        for ((label, method), promises) in declared {
            let place = routes.find(label).unwrap_or_else(|_| routes.learn(label));
            routes.route(place).make_slot(method, promises, bounds);
        }
        routes
    }

    /// The slot of a request; it is made if this is the first one.
    pub(super) fn slot(&self, route: Option<&str>, method: &Method) -> &Arc<Slot> {
        let place = match route {
            None | Some(UNMATCHED) => UNMATCHED_PLACE,
            Some(OTHER) => OTHER_PLACE,
            Some(label) => self.find(label).unwrap_or_else(|_| self.learn(label)),
        };
        self.route(place).slot(method_index(method), &self.bounds)
    }

    /// Every slot there is, by route and method.
    pub(super) fn slots(&self) -> Vec<&Slot> {
        let mut routes: Vec<&Route> = self.places.iter().filter_map(OnceLock::get).map(Box::as_ref).collect();
        routes.sort_unstable_by(|a, b| a.label.cmp(&b.label));
        routes.extend([&self.unmatched, &self.other]);
        let slots = routes.into_iter().flat_map(|route| route.slots.iter());
        slots.filter_map(OnceLock::get).map(Arc::as_ref).collect()
    }

    fn route(&self, place: usize) -> &Route {
        match self.places.get(place) {
            Some(place) => place.get().map_or(&self.other, Box::as_ref),
            None if place == UNMATCHED_PLACE => &self.unmatched,
            None => &self.other,
        }
    }

    /// The place of a label, or else the empty one where it would stand.
    fn find(&self, label: &str) -> Result<usize, usize> {
        let mut place = hash(label);
        loop {
            place %= PLACES;
            match self.places[place].get() {
                Some(route) if *route.label == *label => return Ok(place),
                Some(_) => place += 1,
                None => return Err(place),
            }
        }
    }

    /// Adds a route, at most [`MAX_ROUTES`] times in the life of a process.
    fn learn(&self, label: &str) -> usize {
        // A client cannot choose routes, but a full table must not make every request of the rest wait here.
        if self.known.load(Acquire) >= MAX_ROUTES {
            // Looked for once more: the last place may have gone to this very label meanwhile.
            return self.find(label).unwrap_or(OTHER_PLACE);
        }
        let _one_at_a_time = self.grow.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = match self.find(label) {
            Ok(place) => return place,
            Err(empty) => empty,
        };
        if self.known.load(Relaxed) >= MAX_ROUTES {
            return OTHER_PLACE;
        }
        self.places[empty].get_or_init(|| Box::new(Route::new(label)));
        self.known.fetch_add(1, Release);
        empty
    }
}

impl Route {
    fn new(label: &str) -> Self {
        Self { label: label.into(), slots: Default::default() }
    }

    /// The slot of a method; nothing is promised for one that was not declared.
    fn slot(&self, method: usize, bounds: &Arc<Bounds>) -> &Arc<Slot> {
        match self.slots[method].get() {
            Some(slot) => slot,
            None => self.make_slot(method, Promises::default(), bounds),
        }
    }

    #[cold]
    fn make_slot(&self, method: usize, promises: Promises, bounds: &Arc<Bounds>) -> &Arc<Slot> {
        self.slots[method]
            .get_or_init(|| Arc::new(Slot::new(METHODS[method], self.label.clone(), promises, bounds)))
    }
}

/// Labels are the app's own routes, so nobody aims at this hash.
#[expect(clippy::cast_possible_truncation, reason = "any bits of it will do")]
fn hash(label: &str) -> usize {
    XxHash3_64::oneshot(label.as_bytes()) as usize
}
