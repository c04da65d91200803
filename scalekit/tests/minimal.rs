//! The minimal examples are programs that run: each is started as a reader would start it, and asked once or twice.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use scalekit_testkit::{Postgres, Program, Redis};

/// An example of this package, beside this test's own binary.
fn example(name: &str) -> Program {
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    path.pop();
    Program::new(path.join("examples").join(name))
}

#[tokio::test]
async fn slo_counts_a_request_by_its_route() {
    let mut program = example("slo").start();
    let url = program.wait_listening().await;
    let client = reqwest::Client::new();
    assert_eq!(
        client.get(format!("{url}/hello/ada")).send().await.unwrap().text().await.unwrap(),
        "hello, ada"
    );
    let metrics = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"scalekit_slo_good_total{slo="hello"} 1"#), "{metrics}");
}

#[tokio::test]
async fn idempotent_route_answers_a_retry_with_the_first_answer() {
    let database = Postgres::shared().await.database().await;
    let mut program = example("idempotent_route").arg(database.url()).start();
    let url = format!("{}/charges", program.wait_listening().await);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = reqwest::Client::new().post(&url).header("idempotency-key", "k").body("999");
        let response = request.send().await.unwrap();
        answers.push((response.status().as_u16(), response.text().await.unwrap()));
    }
    assert_eq!(answers, vec![(201, "charge 1".to_owned()); 2]);
}

#[tokio::test]
async fn outbox_existing_pool_delivers_what_the_services_own_transaction_appended() {
    let database = Postgres::shared().await.database().await;
    let mut program = example("outbox_existing_pool").arg(database.url()).start();
    assert_eq!(program.wait_line("user.created").await, "user.created ada");
}

#[tokio::test]
async fn session_is_the_same_in_two_processes() {
    let redis = Redis::start().await;
    let ring = std::env::temp_dir().join(format!("scalekit-minimal-{}", uuid::Uuid::now_v7()));
    std::fs::write(&ring, "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    let start = || example("session").arg(redis.url()).arg(ring.display().to_string()).start();
    let (mut one, mut two) = (start(), start());
    let (one, two) = (one.wait_listening().await, two.wait_listening().await);
    let client = reqwest::Client::new();
    let first = client.post(format!("{one}/visits")).send().await.unwrap();
    let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for process in [&two, &one] {
        client.post(format!("{process}/visits")).header("cookie", &cookie).send().await.unwrap();
    }
    let visits = client.get(format!("{two}/visits")).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(visits.text().await.unwrap(), "3 visits");
    std::fs::remove_file(ring).unwrap();
}
