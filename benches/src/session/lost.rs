//! What parallel requests to one session lose of each other's changes.

use std::net::SocketAddr;

use axum::body::Body;
use futures_util::future::join_all;
use http::{Request, header};

use super::{KEYS, Make, Service, begin};
use crate::{app, duel::table};

const ROUNDS: usize = 100;
const PROCESSES: usize = 3;

/// Every client makes one request a round, all at once, to the processes in turn; each changes a counter, a key of
/// the client's own, and a list. Fails if ours loses one.
pub(super) async fn count<M: Make>(redis: SocketAddr, all: &[M]) {
    let mut rows = Vec::new();
    for make in all {
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            processes.push(make.make(redis).await);
        }
        let lost = storm(&processes).await;
        let Service { name, ours, .. } = processes[0];
        assert!(!ours || lost == [0; 3], "{name} has lost {lost:?}");
        let lost = lost.iter().map(|lost| format!("**{lost}**"));
        rows.push([name.to_owned()].into_iter().chain(lost).collect());
    }
    let requests = ROUNDS * KEYS.len();
    let title = format!(
        "Changes lost of {requests}: {} clients of one session at once, {ROUNDS} rounds, {PROCESSES} processes",
        KEYS.len()
    );
    table(&title, &["", "counter + 1", "keys of their own", "entries of a list"], &rows);
}

/// How many changes are lost to the counter, to the keys, to the list.
async fn storm(processes: &[Service]) -> [usize; 3] {
    let cookie = begin(&processes[0], "/sign-in", None).await;
    let mut lost_keys = 0;
    for round in 1..=ROUNDS {
        let requests = (0..KEYS.len()).map(|client| {
            let service = &processes[(client + round) % processes.len()];
            send(service, format!("/all/{client}/{round}"), &cookie)
        });
        join_all(requests).await;
        let state = state(&processes[round % processes.len()], &cookie).await;
        lost_keys += state[2..].iter().filter(|key| **key != round).count();
    }
    let state = state(&processes[0], &cookie).await;
    let asked = ROUNDS * KEYS.len();
    [asked - state[0], lost_keys, asked - state[1]]
}

async fn state(service: &Service, cookie: &str) -> Vec<usize> {
    let text = send(service, "/state".to_owned(), cookie).await;
    text.split(' ').map(|number| number.parse().unwrap()).collect()
}

async fn send(service: &Service, path: String, cookie: &str) -> String {
    let request = Request::get(path).header(header::COOKIE, cookie).body(Body::empty()).unwrap();
    let answer = app::send(&mut service.app.clone(), request).await;
    assert!(answer.head.status.is_success(), "{}: {:?}", service.name, answer.head);
    String::from_utf8(answer.body.to_vec()).unwrap()
}
