//! Tells what waits in the database, beside the relay's work.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Relay;
use crate::OutboxDb;

const EVERY: Duration = Duration::from_secs(5);

/// Never ends. To be polled beside the relay's loop: a database that takes its time over a number must not hold up events
/// and leases. While it does not tell, nobody is told an old value.
pub(super) async fn report<D: OutboxDb>(relay: &Relay<D>) {
    if !relay.signals.is_heard() {
        return std::future::pending().await;
    }
    relay.signals.expects("outbox", &relay.database);
    let mut turns = interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if let Ok(lag) = relay.lag().await {
            relay.signals.behind("outbox", &relay.database, lag.events, lag.seconds);
        }
    }
}
