//! A browser whose requests go to one node after the other.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) cookie: Option<String>,
    pub(crate) body: String,
}

/// A clone is another tab, with the same cookie.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) nodes: Vec<Router>,
    next: usize,
    pub(crate) cookie: Option<String>,
}

impl Browser {
    pub(crate) fn new(nodes: &[Router]) -> Self {
        Self { nodes: nodes.to_vec(), next: 0, cookie: None }
    }

    pub(crate) fn with(&self, cookie: Option<&str>) -> Self {
        Self { cookie: cookie.map(str::to_owned), ..self.clone() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub(crate) async fn post(&mut self, path: &str, form: &str) -> Answer {
        self.send("POST", path, form).await
    }

    async fn send(&mut self, method: &str, path: &str, form: &str) -> Answer {
        let node = self.nodes[self.next % self.nodes.len()].clone();
        self.next += 1;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let response = node.oneshot(request.body(Body::from(form.to_owned())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let (location, cookie) = (text(header::LOCATION), text(header::SET_COOKIE));
        if let Some(cookie) = &cookie {
            let pair = cookie.split(';').next().unwrap().to_owned();
            self.cookie = (!cookie.contains("Max-Age=0")).then_some(pair);
        }
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status, location, cookie, body }
    }
}
