//! Front and pods together, around an app that waits until it is told to answer.

use std::{
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Path, State as Held},
    routing::{get, post},
};
use reqwest::StatusCode;
use scalekit::Workers;
use tokio::sync::{Notify, Semaphore};

use super::{pods::Pods, *};

/// What the apps of a test share with it.
#[derive(Default)]
struct Seen {
    open: Notify,
    answer: Gate,
    dropped: AtomicUsize,
    calls: Mutex<Vec<u32>>,
}

struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

struct CountsItsDrop(Arc<Seen>);

impl Drop for CountsItsDrop {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

async fn wait(Held((seen, pod)): Held<(Arc<Seen>, u32)>) -> String {
    let _guard = CountsItsDrop(Arc::clone(&seen));
    seen.open.notify_one();
    drop(seen.answer.0.acquire().await);
    format!("waited in {pod}")
}

async fn detach(Held((seen, _)): Held<(Arc<Seen>, u32)>) {
    let guard = CountsItsDrop(Arc::clone(&seen));
    tokio::spawn(async move {
        let _guard = guard;
        seen.open.notify_one();
        pending::<()>().await;
    });
}

async fn who(Held((seen, pod)): Held<(Arc<Seen>, u32)>) -> String {
    seen.calls.lock().unwrap().push(pod);
    pod.to_string()
}

async fn repeat(Path(times): Path<usize>, body: Body) -> Body {
    // The request's own body, chunk by chunk: nothing on the way may collect it.
    assert_eq!(times, 1);
    body
}

struct Service {
    url: String,
    seen: Arc<Seen>,
    pods: Arc<Pods>,
    serving: front::Serving,
    http: reqwest::Client,
}

async fn service(count: u32) -> Service {
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let start: Start = Arc::new(move |number| {
        let held = (Arc::clone(&shared), number);
        Box::pin(async move {
            let router = Router::new()
                .route("/wait", get(wait))
                .route("/detach", post(detach))
                .route("/who", get(who))
                .route("/repeat/{times}", post(repeat))
                .with_state(held);
            Ok(App { router, workers: Workers::default(), settle: Box::pin(async {}) })
        })
    });
    let pods = Pods::new(count, start);
    pods.start_all().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = front::Front::new(Arc::clone(&pods)).serve(listener);
    Service { url, seen, pods, serving, http: reqwest::Client::builder().no_proxy().build().unwrap() }
}

impl Service {
    async fn get(&self, path: &str) -> (StatusCode, String) {
        let response = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    fn get_later(&self, path: &str) -> tokio::task::JoinHandle<(StatusCode, String)> {
        let request = self.http.get(format!("{}{path}", self.url));
        tokio::spawn(async move {
            let response = request.send().await.unwrap();
            (response.status(), response.text().await.unwrap())
        })
    }
}

#[tokio::test]
async fn requests_go_round_the_running_pods() {
    let service = service(3).await;
    for _ in 0..6 {
        assert_eq!(service.get("/who").await.0, 200);
    }
    service.pods.stop(2).await.unwrap();
    for _ in 0..4 {
        assert_eq!(service.get("/who").await.0, 200);
    }
    assert_eq!(*service.seen.calls.lock().unwrap(), [1, 2, 3, 1, 2, 3, 1, 3, 1, 3]);
}

#[tokio::test]
async fn a_killed_pod_leaves_502_and_no_future() {
    let service = service(2).await;
    let waiting = service.get_later("/wait");
    service.seen.open.notified().await;
    service.http.post(format!("{}/detach", service.url)).send().await.unwrap();
    service.seen.open.notified().await;
    service.pods.kill(1).await.unwrap();
    let (status, body) = waiting.await.unwrap();
    assert_eq!(status, 502);
    assert!(body.contains("pod-killed"), "{body}");
    assert_eq!(service.seen.dropped.load(Ordering::SeqCst), 1, "the open request is gone");
    service.pods.kill(2).await.unwrap();
    assert_eq!(service.seen.dropped.load(Ordering::SeqCst), 2, "the detached task is gone");
    let (status, body) = service.get("/who").await;
    assert_eq!(status, 503);
    assert!(body.contains("not-serving"), "{body}");
    service.pods.start(2).await.unwrap();
    assert_eq!(service.get("/who").await, (StatusCode::OK, "2".into()));
}

#[tokio::test]
async fn a_stopped_pod_answers_what_it_has_and_takes_no_more() {
    let service = service(2).await;
    let waiting = service.get_later("/wait");
    service.seen.open.notified().await;
    let pods = Arc::clone(&service.pods);
    let stopping = tokio::spawn(async move { pods.stop(1).await });
    // The second request finds the first pod closed once its stop has begun.
    while service.get("/who").await.1 == "1" || service.get("/who").await.1 == "1" {}
    assert!(!stopping.is_finished());
    service.seen.answer.0.add_permits(1);
    assert_eq!(waiting.await.unwrap(), (StatusCode::OK, "waited in 1".into()));
    stopping.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_pod_that_drains_can_be_killed() {
    let service = service(1).await;
    let waiting = service.get_later("/wait");
    service.seen.open.notified().await;
    let pods = Arc::clone(&service.pods);
    let stopping = tokio::spawn(async move { pods.stop(1).await });
    while service.get("/who").await.0 == 200 {}
    service.pods.kill(1).await.unwrap();
    assert_eq!(waiting.await.unwrap().0, 502);
    assert_eq!(stopping.await.unwrap().unwrap_err().to_string(), "pod 1 was killed before it had drained");
}

#[tokio::test]
async fn a_client_that_hangs_up_drops_its_request() {
    let service = service(1).await;
    let waiting = service.get_later("/wait");
    service.seen.open.notified().await;
    waiting.abort();
    service.pods.stop(1).await.unwrap(); // would wait for ever for a request that is still open
    assert_eq!(service.seen.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn bodies_stream_through_both_ways() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let service = service(1).await;
    let mut stream = tokio::net::TcpStream::connect(service.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /repeat/1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = String::new();
    for chunk in ["first", "second"] {
        stream.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes()).await.unwrap();
        // The echo comes although the request has not ended.
        while !seen.contains(chunk) {
            let mut bytes = [0; 1024];
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "closed after {seen:?}");
            seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }
}

#[tokio::test]
async fn commands_that_cannot_be_carried_out_say_why() {
    let service = service(2).await;
    let refusal = |refused: Result<(), pods::Refusal>| refused.unwrap_err().to_string();
    assert_eq!(refusal(service.pods.start(1).await), "pod 1 runs already");
    assert_eq!(refusal(service.pods.kill(3).await), "there is no pod 3: they are numbered 1 to 2");
    assert_eq!(refusal(service.pods.stop(0).await), "there is no pod 0: they are numbered 1 to 2");
    service.pods.stop(1).await.unwrap();
    assert_eq!(refusal(service.pods.stop(1).await), "pod 1 does not run");
    assert_eq!(refusal(service.pods.kill(1).await), "pod 1 does not run");
    service.serving.end(Duration::from_secs(5)).await;
    service.pods.stop_all(Duration::from_secs(5)).await;
}
