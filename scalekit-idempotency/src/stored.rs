//! A response as it is kept with its key, and as it is sent again.

use axum_core::{body::Body, response::IntoResponse};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use scalekit_core::{
    Error, ErrorKind, Result,
    http::{Problem, Response},
};

/// Marks every answer but the execution's own.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Headers that belong to one exchange and would mislead, or leak, in another.
const NEVER_KEPT: [HeaderName; 15] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::PROXY_AUTHENTICATE,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VIA,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// A response that can be stored and sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `None` for a response that was too large or streamed: it is never executed again, nor shown again.
    pub(crate) body: Option<Bytes>,
}

impl Stored {
    /// What is kept of a response.
    pub(crate) fn keep(status: StatusCode, headers: &HeaderMap, body: Option<Bytes>) -> Self {
        let kept =
            |name: &HeaderName| !NEVER_KEPT.contains(name) && !name.as_str().starts_with("access-control-");
        let headers =
            headers.iter().filter(|(name, _)| kept(name)).map(|(name, value)| (name.clone(), value.clone()));
        Self { status, headers: headers.collect(), body }
    }

    /// The answer to a duplicate.
    pub(crate) fn replay(&self) -> Response {
        let mut response = match &self.body {
            Some(body) => {
                let mut response = Response::new(Body::from(body.clone()));
                *response.status_mut() = self.status;
                response.headers_mut().extend(self.headers.clone());
                response
            }
            None => self.omitted(),
        };
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }

    /// The answer where the body was not kept: where the result stands, if the response said so.
    fn omitted(&self) -> Response {
        if let Some(location) = self.headers.get(header::LOCATION) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(header::LOCATION, location.clone());
            return response;
        }
        let title = "The operation has completed; its response was too large to be kept";
        Problem::new(StatusCode::CONFLICT, "completed-not-retained", title)
            .with_detail(format!("it was answered with status {}", self.status.as_u16()))
            .into_response()
    }

    /// The head as bytes: each name and value with its length, in order.
    pub(crate) fn encode_head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in &self.headers {
            put(&mut out, name.as_str().as_bytes());
            put(&mut out, value.as_bytes());
        }
        out
    }

    /// Reads a stored response.
    pub(crate) fn decode(status: u16, head: &[u8], body: Option<Vec<u8>>) -> Result<Self> {
        let corrupt = || Error::new(ErrorKind::Corrupt, "a stored response cannot be read");
        let mut headers = HeaderMap::new();
        let mut rest = head;
        while !rest.is_empty() {
            let name =
                take(&mut rest).and_then(|name| HeaderName::from_bytes(name).ok()).ok_or_else(corrupt)?;
            let value =
                take(&mut rest).and_then(|value| HeaderValue::from_bytes(value).ok()).ok_or_else(corrupt)?;
            headers.append(name, value);
        }
        let status = StatusCode::from_u16(status).map_err(|cause| corrupt().with_source(cause))?;
        Ok(Self { status, headers, body: body.map(Bytes::from) })
    }
}

/// Appends bytes with their length.
pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

/// Takes what [`put`] appended.
pub(crate) fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (bytes, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = tail;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_response_comes_back_byte_for_byte_without_the_exchange_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-many", "1"),
            ("x-many", "2"),
            ("set-cookie", "id=secret"),
            ("access-control-allow-origin", "https://a.example"),
            ("date", "now"),
            ("etag", "\"x\""),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers.append("x-raw", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        let body = Bytes::from_static(&[0, 255, 10]);
        let kept = Stored::keep(StatusCode::CREATED, &headers, Some(body.clone()));
        let back = Stored::decode(201, &kept.encode_head(), Some(body.to_vec())).unwrap();
        assert_eq!((back.status, &back.headers, back.body.clone()), (kept.status, &kept.headers, Some(body)));
        assert_eq!(back.headers.get_all("x-many").iter().count(), 2);
        let names: Vec<_> = back.headers.keys().map(HeaderName::as_str).collect();
        assert!(
            !names.iter().any(|name| matches!(*name, "set-cookie" | "date" | "access-control-allow-origin")),
            "{names:?}"
        );
    }

    #[test]
    fn garbage_is_an_error() {
        for head in
            [&[0, 0, 0][..], &[0, 0, 0, 9, b'a'], &[0, 0, 0, 1, b'a'], &[0, 0, 0, 1, b' ', 0, 0, 0, 0]]
        {
            assert!(Stored::decode(200, head, None).is_err());
        }
        assert!(Stored::decode(42, &[], None).is_err());
    }

    #[test]
    fn a_response_that_was_not_kept_points_to_its_location() {
        let mut headers = HeaderMap::new();
        assert_eq!(Stored::keep(StatusCode::CREATED, &headers, None).replay().status(), StatusCode::CONFLICT);
        headers.insert(header::LOCATION, HeaderValue::from_static("/reports/7"));
        let response = Stored::keep(StatusCode::CREATED, &headers, None).replay();
        assert_eq!(
            (response.status(), &response.headers()[header::LOCATION]),
            (StatusCode::SEE_OTHER, &HeaderValue::from_static("/reports/7"))
        );
        assert_eq!(response.headers()[REPLAYED], "true");
    }
}
