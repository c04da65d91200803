//! Many clients that begin at the same moment.
use std::sync::Arc;

use tokio::{sync::Barrier, task::JoinSet};

/// Runs `client(0)` to `client(n - 1)` as tasks that a barrier releases together; returns their results in order.
///
/// A panic of one client fails the caller, with that panic. The tasks run on the caller's runtime: use
/// `#[tokio::test(flavor = "multi_thread")]` where they should run in parallel and not only interleaved.
pub async fn at_once<F, Fut, T>(n: usize, client: F) -> Vec<T>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let barrier = Arc::new(Barrier::new(n));
    let mut tasks = JoinSet::new();
    for i in 0..n {
        let (barrier, work) = (Arc::clone(&barrier), client(i));
        tasks.spawn(async move {
            barrier.wait().await;
            (i, work.await)
        });
    }
    let mut results = Vec::with_capacity(n);
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(result) => results.push(result),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    results.sort_unstable_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::at_once;

    #[tokio::test]
    async fn nobody_begins_before_all_are_there_and_results_are_in_order() {
        let begun = Arc::new(AtomicUsize::new(0));
        let results = at_once(50, |i| {
            let begun = Arc::clone(&begun);
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                // All were released by one barrier, so after one turn of the run queue all have begun.
                (i, begun.load(Ordering::SeqCst))
            }
        })
        .await;
        assert_eq!(results.iter().map(|(i, _)| *i).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
        assert!(results.iter().all(|(_, seen)| *seen == 50), "{results:?}");
    }

    #[tokio::test]
    #[should_panic(expected = "client 3 fails")]
    async fn a_panic_of_a_client_reaches_the_caller() {
        at_once(5, |i| async move { assert!(i != 3, "client {i} fails") }).await;
    }
}
