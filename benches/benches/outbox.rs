//! What an event costs its transaction, and how fast events leave.

use scalekit_bench::outbox;

fn main() {
    outbox::append(true);
    outbox::append(false);
    outbox::drain();
}
