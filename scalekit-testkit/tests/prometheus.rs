//! A private Prometheus scrapes what a test serves, and promtool judges metrics and rules.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::Duration,
};

use scalekit_testkit::{Prometheus, PrometheusSample};

/// Serves the text to every request until the test process ends.
fn serve(text: Arc<Mutex<String>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let path = request.next().unwrap_or_default();
            let _ = request.find(String::is_empty);
            let text = text.lock().unwrap().replace("$PATH", path.split(' ').nth(1).unwrap_or_default());
            let length = text.len();
            let head = format!("Content-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n");
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n{text}");
        }
    });
    addr
}

fn value(samples: &[PrometheusSample]) -> Option<f64> {
    match samples {
        [(_, value)] => Some(*value),
        _ => None,
    }
}

#[tokio::test]
async fn a_served_counter_can_be_queried_and_followed() {
    let text = Arc::new(Mutex::new("orders_total{path=\"$PATH\",odd=\"a\\\"b+ü\"} 3\n".to_owned()));
    let target = serve(Arc::clone(&text));
    let prometheus = Prometheus::builder()
        .scrape("shop", target)
        .scrape("other", format!("{target}/slo/metrics"))
        .interval(Duration::from_millis(50))
        .start()
        .await;
    let both = prometheus.until("orders_total", |found| found.len() == 2).await;
    let (labels, value_of_other) = &both[1];
    assert_eq!(labels["job"], "shop");
    assert_eq!(labels["path"], "/metrics");
    assert_eq!(labels["odd"], "a\"b+ü");
    assert_eq!(labels["__name__"], "orders_total");
    assert_eq!(*value_of_other, 3.0);
    assert_eq!(both[0].0["path"], "/slo/metrics");

    *text.lock().unwrap() = "orders_total{path=\"$PATH\",odd=\"a\\\"b+ü\"} 8\n".to_owned();
    let query = "sum by (odd) (orders_total{job=\"shop\",odd=\"a\\\"b+ü\"})";
    prometheus.until(query, |found| value(found) == Some(8.0)).await;
    let grown = prometheus.query("changes(orders_total{job=\"shop\"}[1h])").await;
    assert_eq!(value(&grown), Some(1.0));
    assert_eq!(prometheus.query("scalar(vector(7))").await, [(Default::default(), 7.0)]);
    assert!(prometheus.query("no_such_series").await.is_empty());
    assert!(prometheus.scrape_errors().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let target = serve(Arc::new(Mutex::new("orders_total{oops 3\n".to_owned())));
    let prometheus = Prometheus::builder().scrape("shop", target).start().await;
    prometheus.until("up{job=\"shop\"}", |found| value(found) == Some(0.0)).await;
    let errors = prometheus.scrape_errors().await;
    assert!(errors.len() == 1 && errors[0].starts_with("shop: "), "{errors:?}");
}

#[tokio::test]
async fn rules_are_evaluated() {
    let rules = "
groups:
  - name: shop
    rules:
      - record: shop:twice
        expr: 2 * orders
      - alert: TooMany
        expr: shop:twice > 5
";
    let target = serve(Arc::new(Mutex::new("orders 3\n".to_owned())));
    let prometheus = Prometheus::builder()
        .scrape("shop", target)
        .interval(Duration::from_millis(50))
        .rules(rules)
        .start()
        .await;
    prometheus.until("shop:twice", |found| value(found) == Some(6.0)).await;
    let firing = "ALERTS{alertname=\"TooMany\",alertstate=\"firing\"}";
    prometheus.until(firing, |found| found.len() == 1).await;
}

#[tokio::test]
async fn a_restart_keeps_what_was_scraped() {
    let text = Arc::new(Mutex::new("orders_total 3\n".to_owned()));
    let target = serve(Arc::clone(&text));
    let prometheus = Prometheus::builder().scrape("shop", target).start().await;
    prometheus.until("orders_total", |found| found.len() == 1).await;
    let (addr, pid) = (prometheus.addr(), prometheus.pid());
    prometheus.kill().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    *text.lock().unwrap() = "orders_total 5\n".to_owned();
    prometheus.restart().await;
    assert_eq!(prometheus.addr(), addr);
    assert_ne!(prometheus.pid(), pid);
    assert_eq!(value(&prometheus.query("min_over_time(orders_total[1h])").await), Some(3.0));
}

#[tokio::test]
#[should_panic(expected = "unclosed left parenthesis")]
async fn a_wrong_query_fails_the_test_with_the_reason() {
    Prometheus::builder().start().await.query("sum(").await;
}

#[test]
fn a_good_exposition_passes_and_a_wrong_one_is_refused() {
    let good = "# HELP orders_total Orders taken.\n# TYPE orders_total counter\norders_total 3\n";
    assert_eq!(Prometheus::check_metrics(good), Ok(()));
    for (wrong, complaint) in [
        ("# TYPE orders_total counter\norders_total three\n", "expected float as value"),
        ("# HELP orders_total a\n# TYPE orders_total counter\norders_total 3", "unexpected end of input"),
        ("# HELP orders Orders.\n# TYPE orders counter\norders 3\n", "_total"),
        ("# TYPE orders_total counter\norders_total 3\n", "no help text"),
    ] {
        let refused = Prometheus::check_metrics(wrong).unwrap_err();
        assert!(refused.contains(complaint), "{complaint:?} in {refused}");
    }
}

const RULES: &str = "
groups:
  - name: shop
    rules:
      - record: shop:twice
        expr: 2 * orders
";

#[test]
fn rules_are_checked() {
    assert_eq!(Prometheus::check_rules(RULES), Ok(()));
    let refused = Prometheus::check_rules(&RULES.replace("2 * orders", "2 * * orders")).unwrap_err();
    assert!(refused.contains("could not parse expression"), "{refused}");
    let twice = format!("{RULES}      - record: shop:twice\n        expr: 2 * orders\n");
    let refused = Prometheus::check_rules(&twice).unwrap_err();
    assert!(refused.contains("duplicate"), "{refused}");
}

#[test]
fn rules_are_tested() {
    let tests = "
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: orders
        values: '3 4'
    promql_expr_test:
      - expr: shop:twice
        eval_time: 1m
        exp_samples:
          - labels: shop:twice
            value: 8
";
    assert_eq!(Prometheus::test_rules(RULES, tests), Ok(()));
    let failed = Prometheus::test_rules(RULES, &tests.replace("value: 8", "value: 9")).unwrap_err();
    assert!(failed.contains("FAILED"), "{failed}");
}

#[test]
#[should_panic(expected = "rule_files: [rules.yml]")]
fn tests_of_no_rules_are_refused() {
    let _ = Prometheus::test_rules(RULES, "tests: []");
}
