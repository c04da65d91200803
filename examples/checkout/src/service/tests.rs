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

async fn read(Held((seen, _)): Held<(Arc<Seen>, u32)>, body: Body) -> String {
    seen.open.notify_one();
    axum::body::to_bytes(body, 1 << 10).await.map_or(String::new(), |bytes| bytes.len().to_string())
}

struct Service {
    url: String,
    seen: Arc<Seen>,
    pods: Arc<Pods>,
    serving: Option<front::Serving>,
    http: reqwest::Client,
}

async fn service(count: u32) -> Service {
    service_with(count, front::Limits::default()).await
}

async fn service_with(count: u32, limits: front::Limits) -> Service {
    let seen = Arc::new(Seen::default());
    let shared = Arc::clone(&seen);
    let start: Start = Arc::new(move |number| {
        let held = (Arc::clone(&shared), number);
        Box::pin(async move {
            let router = Router::new()
                .route("/wait", get(wait))
                .route("/detach", post(detach))
                .route("/who", get(who))
                .route("/read", post(read))
                .route("/repeat/{times}", post(repeat))
                .with_state(held);
            Ok(App { router, workers: Workers::default(), settle: Box::pin(async {}) })
        })
    });
    let pods = Pods::new(count, start);
    pods.start_all().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = front::Front::new(Arc::clone(&pods), limits).serve(listener);
    Service {
        url,
        seen,
        pods,
        serving: Some(serving),
        http: reqwest::Client::builder().no_proxy().build().unwrap(),
    }
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
    let mut service = service(2).await;
    let refusal = |refused: Result<(), pods::Refusal>| refused.unwrap_err().to_string();
    assert_eq!(refusal(service.pods.start(1).await), "pod 1 runs already");
    assert_eq!(refusal(service.pods.kill(3).await), "there is no pod 3: they are numbered 1 to 2");
    assert_eq!(refusal(service.pods.stop(0).await), "there is no pod 0: they are numbered 1 to 2");
    service.pods.stop(1).await.unwrap();
    assert_eq!(refusal(service.pods.stop(1).await), "pod 1 does not run");
    assert_eq!(refusal(service.pods.kill(1).await), "pod 1 does not run");
    service.serving.take().unwrap().end(Duration::from_secs(5)).await;
    service.pods.stop_all(Duration::from_secs(5)).await;
}

/// A request whose body never ends, once a pod waits for it.
async fn trickle(service: &Service) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt;
    let mut stream = tokio::net::TcpStream::connect(service.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx";
    stream.write_all(head.as_bytes()).await.unwrap();
    service.seen.open.notified().await;
    stream
}

#[tokio::test]
async fn a_client_that_trickles_costs_the_others_no_time_of_their_drain() {
    let mut service = service(1).await;
    let _trickles = trickle(&service).await;
    let waiting = service.get_later("/wait");
    service.seen.open.notified().await;
    let serving = service.serving.take().unwrap();
    let ending = tokio::spawn(async move { serving.end(Duration::from_secs(1)).await });
    while tokio::net::TcpStream::connect(service.url.trim_start_matches("http://")).await.is_ok() {}
    service.seen.answer.0.add_permits(1);
    assert_eq!(waiting.await.unwrap(), (StatusCode::OK, "waited in 1".into()));
    ending.await.unwrap();
    // The trickling request is gone with its connection: the pod has nothing left to wait for.
    let drained = tokio::time::timeout(Duration::from_secs(3), service.pods.stop(1)).await;
    assert!(matches!(drained, Ok(Ok(()))), "{drained:?}");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_its_connection_and_frees_its_place() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let limits = front::Limits { connections: 2, head: Duration::from_millis(500), ..Default::default() };
    let service = service_with(1, limits).await;
    let address = service.url.trim_start_matches("http://");
    let mut slow = Vec::new();
    for begun in ["", "GET /who HTTP/1.1\r\nx-slow: "] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // Both places are taken: this one is served once they are free again.
    let late = service.get_later("/who");
    for mut stream in slow {
        let mut rest = String::new();
        let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut rest)).await;
        assert!(ended.is_ok(), "the connection outlives its head's time");
        assert!(!rest.starts_with("HTTP/1.1 200"), "{rest}");
    }
    assert_eq!(late.await.unwrap(), (StatusCode::OK, "1".into()));
}

#[tokio::test]
async fn a_client_that_takes_no_answer_loses_its_connection() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let limits =
        front::Limits { connections: 1, write: Duration::from_millis(300), ..front::Limits::default() };
    let service = service_with(1, limits).await;
    let address = service.url.trim_start_matches("http://");
    let mut greedy = tokio::net::TcpStream::connect(address).await.unwrap();
    let asked = "GET /who HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2_000);
    // It asks on and on and reads nothing, until the way back is full and the connection is ended.
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        while greedy.write_all(asked.as_bytes()).await.is_ok() {}
    });
    assert!(ended.await.is_ok(), "the connection stays open");
    assert_eq!(service.get_later("/who").await.unwrap(), (StatusCode::OK, "1".into()), "its place is free");
    let mut rest = Vec::new();
    drop(greedy.read_to_end(&mut rest).await);
}
