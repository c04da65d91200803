//! The tenants that matter: the largest, and those that fail, with their tails, in bounded memory and series.

mod exports;
mod state;
mod tail;

use std::array;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use twox_hash::XxHash3_64;

use self::state::State;
use super::bounds::nanos;
use super::top::TopKey;

const STRIPES: usize = 8;
/// Events that a stripe gathers before they are merged.
const BUFFER: usize = 64;
/// As large as the largest memory that is promised.
const MAX_CAPACITY: usize = 256;

/// Follows two sets of tenants among any number: the largest, and those with the most misses.
///
/// A small tenant of which every request fails is among the second, however small it is beside the first.
///
/// # Guarantees
///
/// - Memory is below 512 KB, allocated at the start, whatever clients send; names over 64 bytes are hashed (as
///   [`TopKey`] says).
/// - Of [`export`](Self::export): at most 20 tenants at once and 22 label values; at most 10 new tenants per hour
///   (at most 6 of them for their volume), and none leaves sooner than 10 minutes after it was last among the top.
///   Tenants, `other` and `former` together are all requests that were recorded, exactly.
/// - A percentile is never made of another tenant's requests.
///
/// # Non-guarantees
///
/// - A tenant below 1/256 of the requests (of the misses) may not be seen, and a count may be too high by its error.
/// - Counts that decide the order fade with a half-life of an hour, in steps.
///
/// A record is a short lock on one of 8 buffers, and a merge of 64 every 64th time; nobody waits for a merge unless
/// another one is under way. Times are nanoseconds since any epoch.
///
/// ```
/// use std::time::Duration;
/// use scalekit_core::slo::Tenants;
///
/// let tenants = Tenants::new();
/// for request in 0..1_000 {
///     tenants.record(request, Some("giant"), true, Duration::from_millis(20));
/// }
/// tenants.record(1_000, Some("tiny"), false, Duration::from_secs(2));
/// tenants.record(1_001, None, true, Duration::from_millis(1));
///
/// let top = tenants.top(1_002, 20);
/// assert_eq!((top.by_volume[0].tenant.as_str(), top.by_volume[0].count), ("giant", 1_000));
/// assert_eq!((top.by_misses[0].tenant.as_str(), top.by_misses[0].total), ("tiny", 1));
///
/// // A tenant counts for itself from the first export on in which it is named.
/// let export = tenants.export(1_002);
/// assert_eq!(export.tenants.len(), 2);
/// assert_eq!((export.other.total, export.other.good), (1_002, 1_001));
/// ```
pub struct Tenants {
    /// So that nobody outside can choose names that share a hash.
    seed: u64,
    stripes: [Stripe; STRIPES],
    state: Mutex<State>,
}

/// What to show of the tenants on a page; see [`Tenants::top`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TenantTop {
    /// The largest first.
    pub by_volume: Vec<TenantRow>,
    /// The one with the most misses first.
    pub by_misses: Vec<TenantRow>,
}

/// One tenant of a [`TenantTop`]. `Debug` hides its name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TenantRow {
    /// Its name.
    pub tenant: TopKey,
    /// Its requests (or misses), those longer ago weighing less; at most so many.
    pub count: u64,
    /// By how much the count may be too high.
    pub error: u64,
    /// Its good requests since [`since`](Self::since).
    pub good: u64,
    /// Its requests since then.
    pub total: u64,
    /// 95 % of those ended within so many seconds (of the last hours, from 64 buckets between 1 ms and 68 s).
    pub p95: Option<f64>,
    /// Since when it is followed.
    pub since: u64,
}

/// Counters to export as series; see [`Tenants::export`].
///
/// The sum over all fields is all requests ever recorded. When a tenant loses its series, what it had counted moves
/// to `former`: so no counter but that one ever jumps. A tenant that comes back starts at 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TenantExport {
    /// The tenants that have a series, at most 20, each from the time on when it got it.
    pub tenants: Vec<TenantCounts>,
    /// Requests of tenants that had no series then, and of none; export it as [`OTHER`](Self::OTHER).
    pub other: TenantTally,
    /// Requests of tenants that had a series then and have none now; export it as [`FORMER`](Self::FORMER), and leave
    /// it out of rates.
    pub former: TenantTally,
}

/// A tenant's counters in a [`TenantExport`]. `Debug` hides its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TenantCounts {
    /// Its name; never [`TenantExport::OTHER`] nor [`TenantExport::FORMER`].
    pub tenant: TopKey,
    /// Its requests.
    #[serde(flatten)]
    pub tally: TenantTally,
}

/// Requests, and the good ones of them: all that were no miss. Part of a [`TenantExport`].
///
/// A miss is a request that counts for its objective and is not good, or a failure where nothing is promised. What counts
/// for none, such as a client's error or a request that was shed, is no miss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TenantTally {
    /// The good ones.
    pub good: u64,
    /// All of them.
    pub total: u64,
}

impl Tenants {
    /// Follows 256 tenants by volume and 256 by misses.
    pub fn new() -> Self {
        Self::with_capacity(MAX_CAPACITY)
    }

    /// Follows fewer, at least 1 and at most 256 of each.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            seed: RandomState::new().hash_one(0),
            stripes: array::from_fn(|_| Stripe::default()),
            state: Mutex::new(State::new(capacity.clamp(1, MAX_CAPACITY))),
        }
    }

    /// Counts a request that ended; without a tenant (or with an empty name) it counts for none of them.
    pub fn record(&self, now: u64, tenant: Option<&str>, good: bool, took: Duration) {
        let name = tenant.unwrap_or_default();
        // No tenant may call itself like one of our own label values.
        if TopKey::keeps(name) && !name.starts_with('<') {
            self.count(now, name.as_bytes(), good, nanos(took));
        } else {
            self.count(now, TopKey::hashed(name).as_bytes(), good, nanos(took));
        }
    }

    /// The `k` largest and the `k` with the most misses, of all that was recorded before.
    #[must_use]
    pub fn top(&self, now: u64, k: usize) -> TenantTop {
        self.settled(now).top(k)
    }

    /// The counters to export now; this is what decides who gets a series and who loses it.
    #[must_use]
    pub fn export(&self, now: u64) -> TenantExport {
        self.settled(now).export(now)
    }

    /// Bytes of memory, all told; it never changes.
    ///
    /// ```
    /// assert!(scalekit_core::slo::Tenants::new().bytes() < 512 * 1024);
    /// ```
    pub fn bytes(&self) -> usize {
        let buffers: usize = self.stripes.iter().map(|stripe| lock(&stripe.0).bytes()).sum();
        size_of::<Self>() + buffers + lock(&self.state).bytes()
    }

    /// Counts a name of at most 64 bytes; none is empty.
    #[inline]
    fn count(&self, now: u64, name: &[u8], good: bool, nanos: u64) {
        let hash = (XxHash3_64::oneshot_with_seed(self.seed, name) >> 32) as u32;
        let mut buffer = self.stripe();
        buffer.names.extend_from_slice(name);
        buffer.events.push(Event { nanos, hash, len: name.len() as u8, good });
        if buffer.events.len() >= BUFFER {
            merge(&mut lock(&self.state), now, &mut buffer);
        }
    }

    /// The state with all buffers merged. Locks are always taken in the order stripe, state; here as there.
    fn settled(&self, now: u64) -> MutexGuard<'_, State> {
        for stripe in &self.stripes {
            let mut buffer = lock(&stripe.0);
            merge(&mut lock(&self.state), now, &mut buffer);
        }
        lock(&self.state)
    }

    /// The calling thread's own buffer, or the next one that nobody is at.
    #[inline]
    fn stripe(&self) -> MutexGuard<'_, Buffer> {
        let own = own_stripe();
        let mut free = (0..STRIPES).filter_map(|step| self.stripes[(own + step) % STRIPES].0.try_lock().ok());
        free.next().unwrap_or_else(|| lock(&self.stripes[own].0))
    }
}

impl Default for Tenants {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants").finish_non_exhaustive()
    }
}

impl TenantExport {
    /// The label value of [`other`](Self::other).
    pub const OTHER: &str = "<other>";
    /// The label value of [`former`](Self::former).
    pub const FORMER: &str = "<former>";

    /// All requests ever recorded: the sum of all fields.
    #[must_use]
    pub fn all(&self) -> TenantTally {
        let mut all = self.other;
        all.add(self.former);
        self.tenants.iter().for_each(|tenant| all.add(tenant.tally));
        all
    }
}

impl TenantTally {
    #[inline]
    fn count(&mut self, good: bool) {
        self.total += 1;
        self.good += u64::from(good);
    }

    fn add(&mut self, other: Self) {
        self.good += other.good;
        self.total += other.total;
    }
}

/// A request; its name is in the buffer's names.
struct Event {
    nanos: u64,
    hash: u32,
    len: u8,
    good: bool,
}

struct Buffer {
    events: Vec<Event>,
    names: Vec<u8>,
}

#[repr(align(128))]
struct Stripe(Mutex<Buffer>);

impl Buffer {
    fn bytes(&self) -> usize {
        self.events.capacity() * size_of::<Event>() + self.names.capacity()
    }
}

impl Default for Stripe {
    fn default() -> Self {
        let (events, names) = (Vec::with_capacity(BUFFER), Vec::with_capacity(BUFFER * TopKey::MAX));
        Self(Mutex::new(Buffer { events, names }))
    }
}

fn merge(state: &mut State, now: u64, buffer: &mut Buffer) {
    state.age(now);
    let mut names = buffer.names.as_slice();
    for event in &buffer.events {
        let (name, rest) = names.split_at(usize::from(event.len));
        state.count(now, event, name);
        names = rest;
    }
    buffer.events.clear();
    buffer.names.clear();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer that threads seldom share: where a thread keeps its locals tells it from the others.
#[inline]
fn own_stripe() -> usize {
    thread_local! { static HERE: u8 = const { 0 } }
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    HERE.with(|here| (std::ptr::from_ref(here).addr() as u64).wrapping_mul(ODD) >> 61) as usize
}
