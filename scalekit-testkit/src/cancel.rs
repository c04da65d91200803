//! Drops a future at each place where it can be dropped.
use std::{future::poll_fn, task::Poll};

/// Runs `make()` to its first await and drops it there, then calls `check(Some(1))`; runs another to its second
/// await, drops it, calls `check(Some(2))`; and so on until one completes, when `check(None)` is called and the
/// number of await points is returned.
///
/// An await point is a poll that returned `Pending`, so only awaits that really wait count, and a long read may
/// wait more than once. An answer that is there when it is asked for is no await: **put a [`Proxy`](crate::Proxy)
/// with a delay of a millisecond or two before each server**, or a fast answer skips points and a lucky run ends
/// the search early. Assert the returned number for the same reason.
///
/// The future runs on real I/O: what it has asked of a server before the drop happens there, before or after
/// `check` looks, so `check` waits for what it expects. Panics if the future has not completed after 10,000 points.
pub async fn drop_at_each_await<F, Fut, C, Checked>(mut make: F, mut check: C) -> usize
where
    F: FnMut() -> Fut,
    Fut: Future,
    C: FnMut(Option<usize>) -> Checked,
    Checked: Future<Output = ()>,
{
    for point in 1..=10_000 {
        if run_to(make(), point).await {
            check(None).await;
            return point - 1;
        }
        check(Some(point)).await;
    }
    panic!("the future does not complete: it has awaited 10,000 times")
}

/// Whether the future completed before it had waited `points` times; it is dropped in any case.
async fn run_to(future: impl Future, points: usize) -> bool {
    let mut future = Box::pin(future);
    let mut waited = 0;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(true),
        Poll::Pending => {
            waited += 1;
            if waited == points { Poll::Ready(false) } else { Poll::Pending }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::task::yield_now;

    use super::drop_at_each_await;

    #[tokio::test]
    async fn each_await_is_dropped_once_and_the_last_run_completes() {
        let steps = Cell::new(0);
        let seen = RefCell::new(Vec::new());
        let make = || {
            steps.set(0);
            let steps = &steps;
            async move {
                for _ in 0..3 {
                    steps.set(steps.get() + 1);
                    yield_now().await;
                }
                steps.set(100);
            }
        };
        let points = drop_at_each_await(make, |point| {
            seen.borrow_mut().push((point, steps.get()));
            async {}
        })
        .await;
        assert_eq!(points, 3);
        assert_eq!(seen.into_inner(), [(Some(1), 1), (Some(2), 2), (Some(3), 3), (None, 100)]);
    }

    #[tokio::test]
    async fn the_future_is_dropped_before_the_check() {
        struct Guard<'a>(&'a Cell<bool>);
        impl Drop for Guard<'_> {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Cell::new(false);
        let make = || {
            dropped.set(false);
            let guard = Guard(&dropped);
            async move {
                yield_now().await;
                drop(guard);
            }
        };
        let check = |_| {
            assert!(dropped.get());
            async {}
        };
        assert_eq!(drop_at_each_await(make, check).await, 1);
    }
}
