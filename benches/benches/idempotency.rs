//! What an idempotency key costs a write; what it prevents is in the peers' `storm`.

use scalekit_bench::idempotency;

fn main() {
    idempotency::round_trips();
    idempotency::rates(true);
    idempotency::rates(false);
}
