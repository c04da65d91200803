//! The client of the payment provider: it never asks for the same order under two keys.

use std::{borrow::Cow, fmt, time::Duration};

use reqwest::{Client, StatusCode, Url, redirect::Policy};
use scalekit::{Error, ErrorKind, Result};
use serde::Serialize;
use uuid::Uuid;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// What the key of a charge is derived for.
const PURPOSE: &[u8] = b"psp/charge";

/// A payment provider.
#[derive(Debug)]
pub(crate) struct Payments {
    http: Client,
    url: Url,
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
    pub(crate) fn new(url: &Url) -> Result<Self> {
        let wrong = |reason: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Config, "the payment provider cannot be used").with_source(reason)
        };
        let http = Client::builder().timeout(ATTEMPT).redirect(Policy::none()).no_proxy().build();
        let url = url.join("charges").map_err(|error| wrong(error.into()))?;
        let http = http.map_err(|error| wrong(error.into()))?;
        Ok(Self { http, url })
    }

    /// Asks for the money of an order; asked again for the same order, the provider takes it once.
    ///
    /// # Errors
    /// A transient one if nothing was decided: ask again later, without limit.
    pub(crate) async fn charge(&self, charge: &Charge<'_>) -> Result<Charged> {
        let key = Uuid::new_v5(&charge.order_id, PURPOSE);
        let request = self.http.post(self.url.clone()).header("idempotency-key", key.to_string());
        match request.json(charge).send().await {
            Ok(response) => decide(response.status()),
            Err(error) => Err(undecided("the payment provider did not answer").with_source(error)),
        }
    }
}

fn decide(status: StatusCode) -> Result<Charged> {
    match status.as_u16() {
        200..=299 => Ok(Charged::Paid),
        402 => Ok(Charged::Declined),
        408 | 409 | 425 | 429 => Err(busy(status)),
        400..=499 => Ok(Charged::Refused(status)),
        _ => Err(busy(status)),
    }
}

fn busy(status: StatusCode) -> Error {
    undecided(format!("the payment provider answered {}", status.as_u16()))
}

fn undecided(message: impl Into<Cow<'static, str>>) -> Error {
    // The money may have been taken: only the key makes it safe to ask again.
    Error::new(ErrorKind::OutcomeUnknown, message)
}

impl fmt::Debug for Charge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("amount_cents", &self.amount_cents).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
