//! The client of the payment provider: asks until it knows, and never asks for the same order under two keys.

use std::{fmt, time::Duration};

use reqwest::{Client, StatusCode, Url, redirect::Policy};
use serde::Serialize;
use tokio::{sync::Semaphore, time::sleep};
use uuid::Uuid;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The first and the longest pause between attempts.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How many attempts run at a time.
const AT_A_TIME: usize = 16;

/// What the key of a charge is derived for.
const PURPOSE: &[u8] = b"psp/charge";

/// A payment provider.
#[derive(Debug)]
pub(crate) struct Payments {
    http: Client,
    url: Url,
    permits: Semaphore,
}

/// One order to be charged.
#[derive(Serialize)]
pub(crate) struct Charge<'a> {
    pub(crate) order_id: Uuid,
    pub(crate) amount_cents: i64,
    pub(crate) payment_token: &'a str,
}

/// The provider's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Charged {
    Paid,
    Declined,
    /// The provider does not accept the request itself: somebody has to look at it.
    Refused(StatusCode),
}

impl Payments {
    /// The provider at this URL, which ends with a slash.
    pub(crate) fn new(url: &Url) -> scalekit::Result<Self> {
        let wrong = |reason: Box<dyn std::error::Error + Send + Sync>| {
            scalekit::Error::new(scalekit::ErrorKind::Config, "the payment provider cannot be used")
                .with_source(reason)
        };
        let http = Client::builder().timeout(ATTEMPT).redirect(Policy::none()).no_proxy().build();
        let url = url.join("charges").map_err(|error| wrong(error.into()))?;
        let http = http.map_err(|error| wrong(error.into()))?;
        Ok(Self { http, url, permits: Semaphore::new(AT_A_TIME) })
    }

    /// Charges an order, however long it takes; repeated for the same order, it charges once. Whoever gives up drops
    /// the future.
    pub(crate) async fn charge(&self, charge: &Charge<'_>) -> Charged {
        let key = Uuid::new_v5(&charge.order_id, PURPOSE);
        let mut pause = PAUSE_MIN;
        loop {
            match self.attempt(charge, key).await {
                Ok(charged) => return charged,
                Err(reason) => tracing::warn!(%reason, ?pause, "a charge is tried again"),
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self, charge: &Charge<'_>, key: Uuid) -> Result<Charged, Again> {
        // Held for the attempt and not for the pause: an order that waits keeps no other from being charged.
        let _permit = self.permits.acquire().await;
        let request = self.http.post(self.url.clone()).header("idempotency-key", key.to_string());
        let response = request.json(charge).send().await.map_err(Again::Lost)?;
        decide(response.status())
    }
}

/// Why an attempt decided nothing.
#[derive(Debug)]
enum Again {
    Lost(reqwest::Error),
    Busy(StatusCode),
}

fn decide(status: StatusCode) -> Result<Charged, Again> {
    match status.as_u16() {
        200..=299 => Ok(Charged::Paid),
        402 => Ok(Charged::Declined),
        408 | 409 | 425 | 429 => Err(Again::Busy(status)),
        400..=499 => Ok(Charged::Refused(status)),
        _ => Err(Again::Busy(status)),
    }
}

/// Half of it to all of it, so that orders that failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let random = Uuid::now_v7().into_bytes()[15];
    pause / 2 + pause.mul_f64(f64::from(random) / 510.0)
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(status) => write!(f, "the provider answered {}", status.as_u16()),
            Self::Lost(error) if error.is_timeout() => f.write_str("the provider did not answer in time"),
            Self::Lost(error) if error.is_connect() => f.write_str("the provider cannot be reached"),
            Self::Lost(_) => f.write_str("the connection to the provider was lost"),
        }
    }
}

impl fmt::Debug for Charge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("amount_cents", &self.amount_cents).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
