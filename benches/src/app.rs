//! Requests to a router in this process, without a network.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, Bytes},
};
use http::{Request, header};
use http_body_util::BodyExt;
use tower::Service;

use crate::duel::Case;

/// What makes the next request.
pub type Make = Arc<dyn Fn() -> Request<Body> + Send + Sync>;

/// An answer whose body has been read.
#[derive(Debug)]
pub struct Answer {
    /// Its status and headers.
    pub head: http::response::Parts,
    /// Its body.
    pub body: Bytes,
}

/// Sends one request and reads the answer to its end.
pub async fn send(app: &mut Router, request: Request<Body>) -> Answer {
    let (head, body) = app.call(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { head, body }
}

/// A case of requests, one after the other; all must succeed.
pub fn one_by_one(name: &str, app: Router, make: Make) -> Case {
    Case::new(name, move |n| work(app.clone(), Arc::clone(&make), n))
}

/// A case of requests by so many clients at a time; all must succeed.
pub fn at_a_time(name: &str, clients: u32, app: Router, make: Make) -> Case {
    Case::new(name, move |n| {
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                // The remainder goes to the first clients.
                let own = n / clients + u32::from(client < n % clients);
                tokio::spawn(work(app.clone(), Arc::clone(&make), own))
            })
            .collect();
        async move {
            for task in tasks {
                task.await.unwrap();
            }
        }
    })
}

/// A GET for a path, with a cookie.
pub fn get(path: &'static str, cookie: Option<String>) -> Make {
    Arc::new(move || {
        let mut request = Request::get(path);
        if let Some(cookie) = &cookie {
            request = request.header(header::COOKIE, cookie);
        }
        request.body(Body::empty()).unwrap()
    })
}

/// The cookies that the answer sets, as the next request sends them.
pub fn cookie(answer: &Answer) -> String {
    let set = answer.head.headers.get_all(header::SET_COOKIE).iter();
    let pairs: Vec<_> = set.map(|one| one.to_str().unwrap().split(';').next().unwrap()).collect();
    assert!(!pairs.is_empty(), "the answer sets no cookie");
    pairs.join("; ")
}

async fn work(mut app: Router, make: Make, n: u32) {
    for _ in 0..n {
        let answer = send(&mut app, make()).await;
        assert!(answer.head.status.is_success(), "{:?}", answer.head);
    }
}
