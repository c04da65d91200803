//! The Redis handle over TLS: a private authority, client certificates, users, restarts, a Cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by a panic")]

use std::time::Duration;

use scalekit_core::{
    Error, ErrorKind,
    redis::{Redis, RedisConfig, Script, cmd},
};
use scalekit_testkit::{RedisServer, wait_until};

/// How long a test waits for what must happen; nothing is timed.
const LONG: Duration = Duration::from_secs(20);

static ADD: Script = Script::new(
    "-- Adds ARGV[1] to KEYS[1]. Returns the sum. Atomic: one command.\n\
     return redis.call('INCRBY', KEYS[1], ARGV[1])",
);

/// A configuration whose budgets do not run out on a busy machine.
fn patient() -> RedisConfig {
    RedisConfig::default().with_io_budget(LONG).with_connect_timeout(LONG)
}

fn trusting(server: &RedisServer) -> Redis {
    Redis::open_with(&[server.url()], patient().with_ca(server.ca_pem())).unwrap()
}

async fn ping(url: &str, config: RedisConfig) -> Result<String, Error> {
    Redis::open_with(&[url], config).unwrap().query(&cmd("PING")).await
}

#[tokio::test]
async fn commands_scripts_and_a_blocking_reader_over_tls_and_again_after_a_restart() {
    let server = scalekit_testkit::Redis::builder().tls().start().await;
    let redis = trusting(&server);
    let mut reader = redis.dedicated();
    for _ in 0..2 {
        assert_eq!(redis.query::<i64>(cmd("INCR").arg("n")).await.unwrap(), 1);
        assert_eq!(redis.run::<i64>(&ADD.key("n").arg(2)).await.unwrap(), 3);
        let waiting = tokio::spawn(async move {
            let job = reader.query(cmd("BLPOP").arg("jobs").arg(20), LONG).await;
            (job, reader)
        });
        wait_until("the reader blocks", LONG, async || {
            let clients: String = redis.query(cmd("CLIENT").arg("LIST")).await.unwrap();
            clients.contains("cmd=blpop")
        })
        .await;
        let () = redis.query(cmd("RPUSH").arg("jobs").arg("a")).await.unwrap();
        let (job, back) = waiting.await.unwrap();
        let job: Option<(String, String)> = job.unwrap();
        assert_eq!(job.unwrap().1, "a");
        server.kill().await;
        server.restart().await;
        let back = tokio::sync::Mutex::new(back);
        wait_until("both are back", LONG, async || {
            redis.query::<String>(&cmd("PING")).await.is_ok()
                && back.lock().await.query::<String>(&cmd("PING"), Duration::ZERO).await.is_ok()
        })
        .await;
        reader = back.into_inner();
    }
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused_by_name_of_the_problem() {
    let server = scalekit_testkit::Redis::builder().tls().start().await;
    let other = scalekit_testkit::Redis::builder().tls().start().await;
    let wrong = patient().with_ca(other.ca_pem());
    // The authorities of the web have not signed it either.
    for config in [wrong.clone(), patient()] {
        let redis = Redis::open_with(&[server.url()], config).unwrap();
        let shared = redis.query::<String>(&cmd("PING")).await.unwrap_err();
        assert_eq!(shared.kind(), ErrorKind::Unavailable, "{shared:?}");
        assert!(shared.to_string().contains("certificate of redis is not trusted"), "{shared:?}");
        assert!(format!("{shared:?}").contains("invalid peer certificate"), "{shared:?}");
    }
    let redis = Redis::open_with(&[server.url()], wrong).unwrap();
    let own = redis.dedicated().query::<String>(&cmd("PING"), Duration::ZERO).await.unwrap_err();
    assert!(own.to_string().contains("certificate of redis is not trusted"), "{own:?}");

    // Nor is a name that the certificate does not hold.
    let renamed = server.url().replace("127.0.0.1", "127.0.0.2");
    let error = ping(&renamed, patient().with_ca(server.ca_pem())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_eq!(ping(&server.url(), patient().with_ca(server.ca_pem())).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_missed() {
    let server = scalekit_testkit::Redis::builder().mutual_tls().start().await;
    let (certificate, key) = server.client_pem();
    let without = patient().with_ca(server.ca_pem());
    let with = without.clone().with_client_certificate(certificate, key);
    assert_eq!(ping(&server.url(), with).await.unwrap(), "PONG");
    let error = ping(&server.url(), without).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("wants a client certificate"), "{error:?}");
}

#[tokio::test]
async fn users_sign_in_over_tls() {
    let builder = scalekit_testkit::Redis::builder().tls().default_user_off();
    let server = builder.acl_user("app", "s3cret", "~app:* +@all").start().await;
    let config = patient().with_ca(server.ca_pem());
    let app = Redis::open_with(&[server.url_as("app")], config.clone()).unwrap();
    let () = app.query(cmd("SET").arg("app:k").arg("v")).await.unwrap();
    assert_eq!(app.query::<()>(cmd("GET").arg("other")).await.unwrap_err().kind(), ErrorKind::Internal);
    let wrong = server.url_as("app").replace("s3cret", "wr0ng");
    let error = ping(&wrong, config).await.unwrap_err();
    assert_eq!(error.to_string(), "redis refuses the credentials", "{error:?}");
}

#[tokio::test]
async fn a_cluster_serves_all_slots_over_tls() {
    let cluster = scalekit_testkit::Redis::tls_cluster(3).await;
    let config = patient().with_ca(cluster.nodes()[0].ca_pem());
    let redis = Redis::open_with(&cluster.urls(), config).unwrap();
    for at in 0..60 {
        assert_eq!(redis.run::<i64>(&ADD.key(format!("s:{{{at}}}")).arg(at)).await.unwrap(), at);
    }
    let mut own = redis.dedicated();
    let seven: i64 = own.query(cmd("GET").arg("s:{7}"), Duration::ZERO).await.unwrap();
    assert_eq!(seven, 7);
    let other = scalekit_testkit::Redis::builder().tls().start().await;
    let redis = Redis::open_with(&cluster.urls(), patient().with_ca(other.ca_pem())).unwrap();
    let error = redis.query::<String>(cmd("GET").arg("s:{7}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(format!("{error:?}").contains("invalid peer certificate"), "{error:?}");
}

#[tokio::test]
async fn certificates_that_cannot_serve_are_refused_at_construction() {
    let server = scalekit_testkit::Redis::builder().tls().start().await;
    let ca = server.ca_pem();
    let (certificate, key) = server.client_pem();
    let config = RedisConfig::default;
    let broken = format!("{ca}\n-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    let bad = [
        ("rediss://h", config().with_ca(""), "of the authority"),
        ("rediss://h", config().with_ca(key), "of the authority"),
        ("rediss://h", config().with_ca(broken), "of the authority"),
        ("rediss://h", config().with_client_certificate("", key), "of the client"),
        ("rediss://h", config().with_client_certificate(certificate, ca), "no private key"),
        ("redis://h", config().with_ca(ca), "not rediss://"),
        ("unix:///tmp/s", config().with_client_certificate(certificate, key), "not rediss://"),
    ];
    for (url, config, problem) in bad {
        for urls in [vec![url], vec![url, url]] {
            let error = Redis::open_with(&urls, config.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}: {error:?}");
            assert!(error.to_string().contains(problem), "{url}: {error}");
            let shown = format!("{error:?} {config:?}");
            assert!(!key.lines().any(|line| shown.contains(line)), "the key is shown");
        }
    }
}
