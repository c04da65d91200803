//! Which tenants ask most, and how long they wait: the few that matter, in bounded memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    extract::{Request, State},
    http::request::Parts,
    middleware::Next,
    response::Response,
};
use scalekit::{Principal, http::Authenticate, session::SessionPrincipal};
use tokio::time::Instant;

/// How many tenants are followed at a time.
const FOLLOWED: usize = 64;
/// Bucket `n` counts requests of up to 2^n ms; the last one all that are slower.
const BUCKETS: usize = 15;

/// The tenants that ask most. A tenant that is not followed yet takes the place of the one that asks least, and its
/// count: so a count is never too low, and too high by at most the least count.
#[derive(Default)]
pub(crate) struct Tenants(Mutex<HashMap<Box<str>, Tenant>>);

#[derive(Clone, Default)]
struct Tenant {
    requests: u64,
    failed: u64,
    waits: [u64; BUCKETS],
}

/// A line of the operations page.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) tenant: String,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// 99 % of the requests ended within this many seconds.
    pub(crate) p99: f64,
}

impl Tenants {
    fn note(&self, tenant: &str, took: Duration, failed: bool) {
        let mut followed = self.lock();
        if !followed.contains_key(tenant) {
            let start = if followed.len() < FOLLOWED { 0 } else { replace_least(&mut followed) };
            followed.insert(tenant.into(), Tenant { requests: start, ..Tenant::default() });
        }
        if let Some(entry) = followed.get_mut(tenant) {
            entry.requests += 1;
            entry.failed += u64::from(failed);
            entry.waits[bucket(took)] += 1;
        }
    }

    /// The tenants that asked most, first.
    pub(crate) fn top(&self, count: usize) -> Vec<Row> {
        let row = |name: &str, tenant: &Tenant| Row {
            tenant: name.to_owned(),
            requests: tenant.requests,
            failed: tenant.failed,
            p99: p99(&tenant.waits),
        };
        let mut rows: Vec<_> = self.lock().iter().map(|(name, tenant)| row(name, tenant)).collect();
        rows.sort_by(|one, other| (other.requests, &one.tenant).cmp(&(one.requests, &other.tenant)));
        rows.truncate(count);
        rows
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Tenant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures a request; whose it is turns out further inside.
pub(crate) async fn measure(
    State(tenants): State<Arc<Tenants>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (whose, since) = (Whose::default(), Instant::now());
    request.extensions_mut().insert(whose.clone());
    let response = next.run(request).await;
    if let Some(tenant) = whose.0.get() {
        tenants.note(tenant, since.elapsed(), response.status().is_server_error());
    }
    response
}

/// Takes the principal from the session, and tells [`measure`] of it.
pub(crate) struct Noted(pub(crate) SessionPrincipal);

#[derive(Clone, Default)]
struct Whose(Arc<OnceLock<Box<str>>>);

#[async_trait]
impl Authenticate for Noted {
    async fn authenticate(&self, parts: &mut Parts) -> Result<Option<Principal>, Response> {
        let principal = self.0.authenticate(parts).await?;
        if let (Some(principal), Some(whose)) = (&principal, parts.extensions.get::<Whose>()) {
            let _first = whose.0.set(principal.tenant_id().into());
        }
        Ok(principal)
    }
}

fn replace_least(followed: &mut HashMap<Box<str>, Tenant>) -> u64 {
    let least = followed.iter().min_by_key(|(_, tenant)| tenant.requests);
    let least = least.map(|(name, tenant)| (name.clone(), tenant.requests));
    least.map_or(0, |(name, requests)| {
        followed.remove(&name);
        requests
    })
}

fn bucket(took: Duration) -> usize {
    let ms = took.as_micros().div_ceil(1000).max(1);
    (ms.next_power_of_two().trailing_zeros() as usize).min(BUCKETS - 1)
}

fn p99(waits: &[u64; BUCKETS]) -> f64 {
    let all: u64 = waits.iter().sum();
    let mut seen = 0;
    let reached = waits.iter().position(|count| {
        seen += count;
        seen * 100 >= all * 99
    });
    reached.map_or(0.0, |bucket| f64::from(1_u32 << bucket) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_stay_whoever_else_comes() {
        let tenants = Tenants::default();
        for at in 0..10_000 {
            tenants.note("busy", Duration::from_millis(3), at % 10 == 0);
            tenants.note(&format!("passing-{at}"), Duration::from_millis(1), false);
        }
        let top = tenants.top(1);
        assert_eq!((top[0].tenant.as_str(), top[0].requests, top[0].failed), ("busy", 10_000, 1_000));
        assert_eq!(top[0].p99, 0.004);
        assert_eq!(tenants.top(1_000).len(), FOLLOWED);
    }

    #[test]
    fn a_wait_is_in_the_bucket_that_bounds_it() {
        for (micros, expected) in [(0, 0), (1_000, 0), (1_001, 1), (2_000, 1), (300_000, 9), (u64::MAX, 14)] {
            assert_eq!(bucket(Duration::from_micros(micros)), expected, "{micros}");
        }
    }
}
