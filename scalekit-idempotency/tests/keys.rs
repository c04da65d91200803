//! What a key does, on both databases.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::{sync::atomic::Ordering, time::Duration};

use common::{postgres, postgres_app, request, sqlite, sqlite_app};
use scalekit_testkit::at_once;

macro_rules! suite {
    ($module:ident, $store:ident, $app:ident) => {
        mod $module {
            use super::*;

            macro_rules! payments {
                ($s:expr) => {
                    sqlx::query_scalar::<_, i64>("select count(*) from payment")
                        .fetch_one(&$s.pool)
                        .await
                        .unwrap()
                };
            }

            #[tokio::test]
            async fn a_retry_gets_the_first_answer_byte_for_byte() {
                let store = $store(2).await;
                let (one, two) = ($app(store.builder(0)), $app(store.builder(1)));
                let mut first = request("ada", Some("k-1"), "go");
                first.headers_mut().append("x-echo-a", "1".parse().unwrap());
                first.headers_mut().append("x-echo-a", "2".parse().unwrap());
                let first = one.send(first).await;
                assert_eq!((first.status, first.replayed()), (201, false));
                for app in [&one, &two] {
                    let again = app.pay("\"k-1\"", "go").await;
                    assert_eq!((again.status, &again.body, again.replayed()), (201, &first.body, true));
                    assert_eq!(again.headers.get_all("x-echo-a").iter().collect::<Vec<_>>(), ["1", "2"]);
                    assert_eq!(again.headers["content-type"], first.headers["content-type"]);
                }
                assert_eq!(
                    (payments!(store), one.ran.load(Ordering::SeqCst), two.ran.load(Ordering::SeqCst)),
                    (1, 1, 0)
                );
            }

            #[tokio::test]
            async fn the_same_key_of_another_user_or_tenant_is_another_key() {
                use scalekit_core::Principal;
                let store = $store(1).await;
                let app = $app(store.builder(0));
                assert_eq!(app.pay("k", "go").await.body, "paid 1");
                assert_eq!(app.send(request("bob", Some("k"), "go")).await.body, "paid 2");
                for (n, who) in
                    [Principal::guest("ada"), Principal::user("ada").tenant("acme")].into_iter().enumerate()
                {
                    let mut other = request("ada", Some("k"), "go");
                    other.extensions_mut().insert(who);
                    assert_eq!(app.send(other).await.body, format!("paid {}", n + 3));
                }
                assert_eq!(payments!(store), 4);
            }

            #[tokio::test]
            async fn another_request_under_the_key_is_refused_and_a_missing_key_too() {
                let store = $store(1).await;
                let app = $app(store.builder(0));
                app.pay("k", "go").await;
                let other = app.pay("k", "go on").await;
                assert_eq!(
                    (other.status, other.problem().as_str(), other.replayed()),
                    (422, "idempotency-key-reused", true)
                );
                let mut route = request("ada", Some("k"), "go");
                *route.uri_mut() = "/other".parse().unwrap();
                assert_eq!(app.send(route).await.status, 422);
                let missing = app.send(request("ada", None, "go")).await;
                assert_eq!((missing.status, missing.problem().as_str()), (400, "idempotency-key-missing"));
                let huge = "k".repeat(300_000);
                let malformed = app.pay(&huge, "go").await;
                assert_eq!(
                    (malformed.status, malformed.problem().as_str()),
                    (400, "idempotency-key-malformed")
                );
                let mut nobody = request("ada", Some("k"), "go");
                nobody.extensions_mut().remove::<scalekit_core::Principal>();
                assert_eq!(app.send(nobody).await.status, 401);
                assert_eq!(payments!(store), 1);
            }

            #[tokio::test]
            async fn a_hundred_copies_over_three_processes_make_one_payment_and_one_answer() {
                let store = $store(3).await;
                let apps: Vec<_> = (0..3).map(|n| $app(store.builder(n))).collect();
                let answers = at_once(100, |n| {
                    let router = apps[n % 3].router.clone();
                    async move {
                        let app = router;
                        use http_body_util::BodyExt;
                        use tower::ServiceExt;
                        let response = app.oneshot(request("ada", Some("storm"), "slow")).await.unwrap();
                        let (parts, body) = response.into_parts();
                        (parts.status.as_u16(), body.collect().await.unwrap().to_bytes())
                    }
                })
                .await;
                assert!(answers.iter().all(|(status, body)| *status == 201 && body == "slow"), "{answers:?}");
                let executed: u64 = apps.iter().map(|app| app.idempotency.counters().executed).sum();
                let replayed: u64 = apps.iter().map(|app| app.idempotency.counters().replayed).sum();
                assert_eq!((payments!(store), executed, replayed), (1, 1, 99));
            }

            #[tokio::test]
            async fn a_duplicate_does_not_wait_for_ever() {
                let store = $store(1).await;
                let app = $app(store.builder(0).with_wait(Duration::from_millis(20)));
                let (first, second) = tokio::join!(app.pay("k", "slow"), app.pay("k", "slow"));
                assert_eq!((first.status, second.status, second.problem().as_str()), (201, 409, "in-flight"));
                assert!(second.replayed() && second.headers["retry-after"] == "1");
                assert_eq!(app.pay("k", "slow").await.status, 201);
                assert_eq!(payments!(store), 1);
            }

            #[tokio::test]
            async fn a_refusal_rolls_back_unless_it_says_otherwise() {
                let store = $store(1).await;
                let app = $app(store.builder(0));
                for _ in 0..2 {
                    let refused = app.pay("k", "refuse").await;
                    assert_eq!((refused.status, refused.replayed(), payments!(store)), (409, false, 0));
                }
                let declined = app.pay("d", "decline").await;
                assert_eq!((declined.status, declined.replayed(), payments!(store)), (402, false, 1));
                let again = app.pay("d", "decline").await;
                assert_eq!((again.status, again.replayed(), payments!(store)), (402, true, 1));
                // A key whose request was rolled back takes another request.
                assert_eq!(app.pay("k", "go").await.status, 201);
            }

            #[tokio::test]
            async fn a_panic_a_hang_a_swallowed_error_or_a_kept_transaction_leaves_nothing() {
                let store = $store(1).await;
                let app = $app(store.builder(0).with_deadline(Duration::from_millis(300)));
                for (word, status) in [("panic", 500), ("hang", 503), ("leave", 500)] {
                    let answer = app.pay("k", word).await;
                    assert_eq!(answer.status, status, "{word}: {answer:?}");
                    answer.problem();
                    if word == "hang" {
                        assert_eq!(answer.headers["retry-after"], "1");
                    }
                    if word != "leave" {
                        assert_eq!(payments!(store), 0, "{word}");
                    }
                }
            }

            #[tokio::test]
            async fn a_large_response_is_sent_whole_and_never_executed_again() {
                let store = $store(1).await;
                let app = $app(store.builder(0));
                let first = app.pay("k", "large").await;
                assert_eq!((first.status, first.body.len()), (200, 600_000));
                let again = app.pay("k", "large").await;
                assert_eq!(
                    (again.status, again.problem().as_str(), again.replayed()),
                    (409, "completed-not-retained", true)
                );
                assert_eq!(payments!(store), 1);
            }

            #[tokio::test]
            async fn a_key_executes_again_after_its_retention() {
                let store = $store(1).await;
                let app = $app(
                    store
                        .builder(0)
                        .with_wait(Duration::from_millis(50))
                        .with_deadline(Duration::from_millis(400))
                        .with_retention(Duration::from_millis(500)),
                );
                assert_eq!(app.pay("k", "go").await.body, "paid 1");
                assert_eq!(app.pay("k", "go").await.body, "paid 1");
                let again = || async { app.pay("k", "go").await.body == "paid 2" };
                scalekit_testkit::wait_until("the retention is over", Duration::from_secs(5), again).await;
            }

            #[tokio::test]
            async fn a_client_that_hangs_up_at_any_moment_leaves_all_or_nothing() {
                let store = $store(1).await;
                let app = $app(store.builder(0));
                let seed = scalekit_testkit::seed();
                let mut random = scalekit_testkit::Rng::new(seed);
                for round in 0..40 {
                    let key = format!("k-{round}");
                    let cut = Duration::from_micros(random.below(6_000));
                    tokio::time::timeout(cut, app.pay(&key, "go")).await.ok();
                    let retried = app.pay(&key, "go").await;
                    assert_eq!(
                        (retried.status, payments!(store)),
                        (201, round + 1),
                        "seed {seed}, round {round}"
                    );
                }
            }
        }
    };
}

suite!(on_postgres, postgres, postgres_app);
suite!(on_sqlite, sqlite, sqlite_app);
