//! What the closures of a test are given: who asks, and what was answered.

use std::borrow::Cow;

use axum_core::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use scalekit_core::http::Request;
use serde::de::DeserializeOwned;

/// One of the simulated users, for closures that make requests. Cookies are added when the request is sent.
///
/// ```
/// use scalekit_session::testing::Visitor;
///
/// let visitor = Visitor { number: 7 };
/// let request = visitor.post_with("/sign-in", "application/json", format!(r#"{{"user": {}}}"#, visitor.number));
/// assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/sign-in"));
/// assert_eq!(visitor.get("/cart").headers()["user-agent"], "rolling-restart/7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// From 0 to the number of users, exclusive; the same at every sign-in of this visitor.
    pub number: usize,
}

impl Visitor {
    /// A `GET` of a path.
    ///
    /// # Panics
    /// If the path is no URI.
    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path, Body::empty())
    }

    /// A `POST` to a path, without a body.
    ///
    /// # Panics
    /// If the path is no URI.
    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path, Body::empty())
    }

    /// A `POST` with a body of a media type. Any other request is made by hand, with `http::Request::builder`.
    ///
    /// # Panics
    /// If the path is no URI.
    pub fn post_with(&self, path: &str, media_type: &'static str, body: impl Into<Body>) -> Request {
        let mut request = self.request(Method::POST, path, body.into());
        put(&mut request, header::CONTENT_TYPE, media_type);
        request
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        match path.parse::<Uri>() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => panic!("the path {path:?} of a request is no URI: {error}"),
        }
        put(&mut request, header::HOST, "localhost");
        put(&mut request, header::USER_AGENT, &format!("rolling-restart/{}", self.number));
        request
    }
}

fn put(request: &mut Request, name: HeaderName, value: &str) {
    match HeaderValue::from_str(value) {
        Ok(value) => drop(request.headers_mut().insert(name, value)),
        Err(error) => panic!("{value:?} is no value of the header {name}: {error}"),
    }
}

/// What a node answered, with the whole body.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use scalekit_session::testing::Answer;
///
/// let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body: "3\n".into() };
/// assert_eq!(answer.number(), Some(3));
/// assert_eq!((answer.text().as_ref(), answer.json::<u8>()), ("3\n", Some(3)));
/// ```
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, without `Set-Cookie`: the browser has taken those.
    pub headers: HeaderMap,
    /// The body, of at most 4 MiB.
    pub body: Bytes,
}

impl Answer {
    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The body as JSON; `None` if it is not that.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as one number in decimal; `None` if it is not that.
    pub fn number(&self) -> Option<u64> {
        self.text().trim().parse().ok()
    }
}
