//! Round trips that a request waits for, by how its time grows with the distance of Redis.
//!
//! Turns that a proxy counts say nothing of what overlaps; time does. The distance is what a lone PING takes through
//! the same proxy, so that the proxy's clock and its own work are on both sides.

use std::time::{Duration, Instant};

use http::{Request, header};
use scalekit_testkit::Proxy;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Service, begin};
use crate::{
    app,
    duel::{median, table},
};

/// One way, in milliseconds.
const DELAYS: [u64; 4] = [0, 1, 2, 5];
const ROUNDS: usize = 41;
/// What a request does, and the round trips that ours promises.
const WAITS: [(&str, &str, f64); 5] = [
    ("/untouched", "session ignored", 0.0),
    ("/read", "sliding read", 1.0),
    ("/write", "write without a read", 1.0),
    ("/change", "write by a closure", 2.0),
    ("/sign-in", "sign-in from a guest's session", 2.0),
];
const TOLERANCE: f64 = 0.2;

/// Fits every use of every service and fails if ours waits for more round trips, or fewer, than it promises.
pub(super) async fn fit(proxy: &Proxy, services: &[Service]) {
    let mut ping = TcpStream::connect(proxy.addr()).await.unwrap();
    ping.set_nodelay(true).unwrap();
    let mut cookies = Vec::new();
    for service in services {
        cookies.push(begin(service, "/sign-in", None).await);
    }
    // By delay: of the PING, and of each use of each service.
    let mut distances = Vec::new();
    let mut medians = vec![Vec::new(); WAITS.len() * services.len()];
    for delay in DELAYS {
        proxy.set_delay(Duration::from_millis(delay));
        let mut pings = Vec::new();
        let mut times = vec![Vec::new(); medians.len()];
        // The first round is not counted: a script is loaded, a connection opened.
        for round in 0..=ROUNDS {
            let distance = answer(&mut ping).await;
            let mut took = Vec::new();
            for (path, ..) in WAITS {
                for (service, cookie) in services.iter().zip(&cookies) {
                    took.push(request(service, path, cookie).await);
                }
            }
            if round > 0 {
                pings.push(distance);
                times.iter_mut().zip(took).for_each(|(all, one)| all.push(one));
            }
        }
        distances.push(median(pings));
        medians.iter_mut().zip(times).for_each(|(all, of_delay)| all.push(median(of_delay)));
    }
    proxy.set_delay(Duration::ZERO);

    let mut rows = Vec::new();
    for (at, medians) in medians.iter().enumerate() {
        let ((_, what, promised), service) = (WAITS[at / services.len()], &services[at % services.len()]);
        let slope = slope(&distances, medians);
        assert!(
            !service.ours || (slope - promised).abs() <= TOLERANCE,
            "{what}: {slope:.2} round trips instead of {promised}, by {medians:?} over {distances:?} s"
        );
        let near = format!("{:.2} ms", medians[0] * 1e3);
        let far = format!("{:.2} ms", medians[DELAYS.len() - 1] * 1e3);
        rows.push(vec![what.to_owned(), service.name.to_owned(), format!("**{slope:.2}**"), near, far]);
    }
    let title = "Round trips that a request waits for: slope of its p50 over what a PING takes through the same proxy";
    table(title, &["", "", "round trips", "p50, no delay added", "p50, 5 ms added each way"], &rows);
}

/// Seconds of one request.
async fn request(service: &Service, path: &'static str, cookie: &str) -> f64 {
    let request = match path {
        "/sign-in" => {
            let guest = begin(service, "/guest", None).await;
            Request::post(path).header(header::COOKIE, guest).body(axum::body::Body::empty()).unwrap()
        }
        _ => app::get(path, Some(cookie.to_owned()))(),
    };
    let mut app = service.app.clone();
    let start = Instant::now();
    let answer = app::send(&mut app, request).await;
    let took = start.elapsed().as_secs_f64();
    assert!(answer.head.status.is_success(), "{}: {:?}", service.name, answer.head);
    took
}

/// Seconds of one PING.
async fn answer(connection: &mut TcpStream) -> f64 {
    let start = Instant::now();
    connection.write_all(b"PING\r\n").await.unwrap();
    let mut pong = [0; 7];
    connection.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
    start.elapsed().as_secs_f64()
}

/// Least squares.
fn slope(x: &[f64], y: &[f64]) -> f64 {
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let (middle_x, middle_y) = (mean(x), mean(y));
    let together: f64 = x.iter().zip(y).map(|(x, y)| (x - middle_x) * (y - middle_y)).sum();
    together / x.iter().map(|x| (x - middle_x).powi(2)).sum::<f64>()
}
