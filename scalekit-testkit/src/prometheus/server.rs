//! A private Prometheus: what it scrapes, and what it answers.
use std::{fs, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    answer::{PrometheusSample, samples},
    client::{escaped, get},
};
use crate::os::{Binary, Server, Spawn, find, free_port, run};

const LIMIT: Duration = Duration::from_secs(30);

/// A Prometheus of its own. Dropping it ends it and removes its files; a failing test shows its log.
pub struct Prometheus {
    server: Server,
}

impl std::fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prometheus").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

/// The configuration of a private Prometheus.
#[derive(Debug)]
#[must_use]
pub struct PrometheusBuilder {
    interval: Duration,
    jobs: Vec<(String, String)>,
    rules: Vec<String>,
}

impl Prometheus {
    /// A Prometheus that scrapes nothing yet, and every 100 ms.
    pub fn builder() -> PrometheusBuilder {
        PrometheusBuilder { interval: Duration::from_millis(100), jobs: Vec::new(), rules: Vec::new() }
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.server.port()).into()
    }

    /// `http://127.0.0.1:PORT`, such as an autoscaler or a rollout is given.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Its process id (another one after a restart).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The samples that the query gives now, in the order of their labels. A scalar is one without labels.
    ///
    /// Panics if Prometheus refuses the query, or if it gives a range (`x[1m]`) or a string.
    pub async fn query(&self, query: &str) -> Vec<PrometheusSample> {
        let target = format!("/api/v1/query?query={}", escaped(query));
        let (_, body) = get(self.addr(), &target).await.unwrap_or_else(|e| panic!("query {query:?}: {e}"));
        samples(&body).unwrap_or_else(|e| panic!("query {query:?}: {e}"))
    }

    /// Asks every 10 ms until the samples of the query are as wanted, and returns them; panics after 30 s with the
    /// last ones.
    pub async fn until<F>(&self, query: &str, mut wanted: F) -> Vec<PrometheusSample>
    where
        F: FnMut(&[PrometheusSample]) -> bool,
    {
        let start = Instant::now();
        loop {
            let found = self.query(query).await;
            if wanted(&found) {
                return found;
            }
            let waited = start.elapsed();
            assert!(waited < LIMIT, "waited {LIMIT:?} in vain for {query:?}; last it gave {found:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What it found in its targets: the last error of each that it cannot scrape or read, as `job: error`.
    pub async fn scrape_errors(&self) -> Vec<String> {
        let answer = get(self.addr(), "/api/v1/targets?state=active").await;
        let (_, body) = answer.unwrap_or_else(|e| panic!("targets: {e}"));
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("targets: {e} in {body:?}"));
        let targets = body["data"]["activeTargets"].as_array().into_iter().flatten();
        let error = |target: &Value| {
            let text = target["lastError"].as_str().filter(|text| !text.is_empty())?;
            Some(format!("{}: {text}", target["scrapePool"].as_str().unwrap_or_default()))
        };
        targets.filter_map(error).collect()
    }

    /// SIGKILL; connections are refused from then on.
    pub async fn kill(&self) {
        self.server.kill().await;
    }

    /// Starts it on the same port, killing it first if it runs. What it has scraped is still there; it scrapes on
    /// after 5 s.
    pub async fn restart(&self) {
        self.server.restart().await;
        self.assert_ready().await;
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.server.log_tail()
    }

    /// Its log line says that it serves; this asks it.
    async fn assert_ready(&self) {
        let answer = get(self.addr(), "/-/ready").await;
        assert!(matches!(answer, Ok((200, _))), "prometheus is not ready: {answer:?}");
    }
}

impl PrometheusBuilder {
    /// Scrapes `http://TARGET/metrics` as this job; the target is `127.0.0.1:PORT`, and may be given with another
    /// path (`127.0.0.1:PORT/slo/metrics`).
    pub fn scrape(mut self, job: &str, target: impl std::fmt::Display) -> Self {
        self.jobs.push((job.to_owned(), target.to_string()));
        self
    }

    /// How often it scrapes, gives up on a scrape, and evaluates rules; 100 ms unless told.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Adds a rule file, recording and alerting; alerts are the series `ALERTS`.
    pub fn rules(mut self, yaml: &str) -> Self {
        self.rules.push(yaml.to_owned());
        self
    }

    /// Starts it; returns when it serves.
    ///
    /// Nothing is scraped yet: Prometheus hands its targets out every 5 s, which no option changes, so the first
    /// scrape comes 5 s after the start. See [`until`](Prometheus::until). Start one per test and not more.
    pub async fn start(self) -> Prometheus {
        let program = find(&Binary { name: "prometheus", package: "prometheus" });
        let (dir, port) = (run().scratch("prometheus"), free_port());
        let write = |name: &str, text: &str| {
            let file = dir.join(name);
            fs::write(&file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            file.display().to_string()
        };
        let rules = self.rules.iter().enumerate();
        let rules: Vec<String> = rules.map(|(n, yaml)| write(&format!("rules-{n}.yml"), yaml)).collect();
        let config = write("prometheus.yml", &self.config(&rules).to_string());
        let args = vec![
            format!("--config.file={config}"),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address={}", port.addr()),
            // Hidden, but there for tests: with 5 s as it is else, the first scrape may come after 10 s.
            "--scrape.discovery-reload-interval=50ms".to_owned(),
        ];
        let log = dir.join("log");
        let spawn = Spawn { program, args, env: Vec::new(), log, end: "KILL", user: None, piped: false };
        let ready = "Server is ready to receive web requests";
        let prometheus = Prometheus { server: Server::start("prometheus", spawn, ready, dir, port).await };
        prometheus.assert_ready().await;
        prometheus
    }

    /// The configuration: JSON, which every reader of YAML reads.
    fn config(&self, rules: &[String]) -> Value {
        let interval = format!("{}ms", self.interval.as_millis());
        let job = |(job, target): &(String, String)| {
            let (host, path) = target.split_once('/').unwrap_or((target, "metrics"));
            json!({
                "job_name": job,
                "metrics_path": format!("/{path}"),
                "static_configs": [{ "targets": [host] }],
            })
        };
        json!({
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "rule_files": rules,
            "scrape_configs": self.jobs.iter().map(job).collect::<Vec<_>>(),
        })
    }
}
