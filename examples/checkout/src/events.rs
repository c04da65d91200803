//! The events of an order, and what is done when one is placed: the money is taken.

use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use scalekit::{
    Clock, Error, ErrorKind, KeyRing, Result, SystemClock,
    outbox::{Delivered, Event, Handler, Inbox, Outbox, Outcome, Received},
    shard::Topology,
    slo::Step,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::{
    db::Db,
    failpoints,
    orders::{self, in_time},
    payments::{Charge, Charged, Payments},
};

const PLACED: &str = "order.placed";
const SOURCE: &str = "/checkout";
/// What the inbox knows this consumer by.
const CONSUMER: &str = "payments";
/// What the ring's key for payment tokens is derived for.
const SEAL: &str = "payment token";

/// The payload of `order.placed`.
#[derive(Serialize, Deserialize)]
struct OrderPlaced {
    order_id: Uuid,
    tenant: String,
    total_cents: i64,
    /// When, in milliseconds since 1970 by the clock of the pod that took the order; not in events of older pods.
    placed_at_ms: Option<u64>,
    /// Readable only under the key ring: events pass through logs and brokers.
    sealed_token: String,
}

/// The event that an order was placed, with its payment token sealed.
pub(crate) fn placed(ring: &KeyRing, order: &orders::Order, order_id: Uuid, token: &str) -> Result<Event> {
    let sealed = ring.seal(SEAL, order_id.as_bytes(), token.as_bytes())?;
    let payload = OrderPlaced {
        order_id,
        tenant: order.tenant.clone(),
        total_cents: order.total_cents,
        placed_at_ms: Some(SystemClock.now_ms()),
        sealed_token: BASE64_STANDARD.encode(sealed),
    };
    Event::new(PLACED, &order.order_id, &payload)?.with_source(SOURCE)
}

/// Takes the money for placed orders, and marks them.
pub(crate) struct Cashier {
    pub(crate) ring: KeyRing,
    pub(crate) payments: Payments,
    pub(crate) topology: Topology<Db>,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) paid: Step,
}

impl Cashier {
    /// The provider is asked outside of any transaction: it may take seconds, and a connection must not wait.
    async fn charge(&self, placed: &OrderPlaced) -> Result<Result<Charged, Outcome>> {
        let sealed = BASE64_STANDARD.decode(&placed.sealed_token).unwrap_or_default();
        let token = self.ring.open(SEAL, placed.order_id.as_bytes(), &sealed);
        let Some(token) = token.and_then(|token| String::from_utf8(token).ok()) else {
            let reason = "the payment token is sealed under a key that this process does not have";
            return Ok(Err(park(reason, true)));
        };
        let charge =
            Charge { order_id: placed.order_id, amount_cents: placed.total_cents, payment_token: &token };
        let charged = self.payments.charge(&charge).await?;
        failpoints::reach("after-charge");
        Ok(Ok(charged))
    }

    /// One short transaction: the inbox's claim, the order's mark, the event that tells of it.
    async fn settle(&self, event: &Delivered, placed: &OrderPlaced, status: &'static str) -> Result<Outcome> {
        let order_id = placed.order_id;
        let mut tx = self.topology.begin_on(event.database()).await?;
        match self.inbox.claim(&mut *tx, CONSUMER, event.id()).await? {
            Received::First => {}
            Received::Duplicate => return Ok(Outcome::Done),
            Received::Busy => return Err(Error::new(ErrorKind::Conflict, "another pod is at this event")),
        }
        let settled = orders::settle(&mut tx, order_id, status).await?;
        if settled {
            let kind = format!("order.{status}");
            let payload = json!({"order_id": order_id, "status": status});
            let told = Event::new(&kind, event.key(), &payload)?.with_source(SOURCE)?;
            self.outbox.append(&mut *tx, &told).await?;
        }
        tx.commit().await?;
        if let Some(since) = placed.placed_at_ms.filter(|_| settled) {
            self.paid.done_since(UNIX_EPOCH + Duration::from_millis(since));
        }
        failpoints::reach("after-settlement");
        Ok(Outcome::Done)
    }
}

#[async_trait]
impl Handler for Cashier {
    async fn handle(&self, event: &Delivered) -> Result<Outcome> {
        if event.kind() != PLACED {
            return Ok(Outcome::Done);
        }
        let placed: OrderPlaced = event.json()?;
        match self.charge(&placed).await? {
            Ok(Charged::Paid) => in_time(self.settle(event, &placed, "paid")).await,
            Ok(Charged::Declined) => in_time(self.settle(event, &placed, "declined")).await,
            Ok(Charged::Refused(status)) => {
                self.paid.failed();
                Ok(park(&format!("the payment provider refused the charge with {}", status.as_u16()), false))
            }
            Err(parked) => Ok(parked),
        }
    }
}

/// Sets the event aside; with `retry` it is tried again every few seconds.
fn park(reason: &str, retry: bool) -> Outcome {
    tracing::error!(reason, "an order's payment is set aside");
    Outcome::Park { reason: reason.to_owned(), retry }
}
