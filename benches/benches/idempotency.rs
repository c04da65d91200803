//! What an idempotency key costs a write, and what it prevents.

use scalekit_bench::{duel::block_on, idempotency};

fn main() {
    idempotency::round_trips();
    idempotency::rates(true);
    idempotency::rates(false);
    block_on(async {
        let (_server, database) = idempotency::database(false).await;
        idempotency::storm(vec![idempotency::stormy(&database).await]).await;
    });
}
