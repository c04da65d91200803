//! Waits for what cannot signal.
use std::time::{Duration, Instant};

/// Asks every 10 ms until the answer is true; panics with `what` if it is not within `limit`.
///
/// For events that nothing announces, such as rows that another process writes. Where a signal can be awaited,
/// await that.
pub async fn wait_until<F, Fut>(what: &str, limit: Duration, mut happened: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let start = Instant::now();
    while !happened().await {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::wait_until;

    #[tokio::test]
    async fn it_returns_when_the_answer_turns_true() {
        let mut asked = 0;
        wait_until("the third time", Duration::from_secs(10), || {
            asked += 1;
            std::future::ready(asked == 3)
        })
        .await;
        assert_eq!(asked, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "in vain until the cows come home")]
    async fn it_says_what_did_not_happen() {
        wait_until("the cows come home", Duration::from_millis(20), || std::future::ready(false)).await;
    }
}
