//! Bodies, read within bounds.

use std::time::Duration;

use axum_core::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;
use scalekit_core::{Error, ErrorKind, Result, http::Problem};

/// Reads a request's body: all of it, before anything is claimed, so that a slow client holds no connection.
pub(crate) async fn read_body(body: Body, limit: usize, within: Duration) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request body is too large")
            .with_detail(format!("at most {limit} bytes are accepted"))
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let kept = tokio::time::timeout(within, keep_body(body, limit)).await;
    match kept {
        Ok(Ok(Kept::Whole(bytes))) => Ok(bytes),
        Ok(Ok(Kept::TooLarge(_))) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "incomplete-body",
            "The request body did not arrive whole",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "The request body did not arrive in time",
        )),
    }
}

/// A body after reading up to a limit.
pub(crate) enum Kept {
    Whole(Bytes),
    /// It is longer: what was read and the rest, as one body.
    TooLarge(Body),
}

/// Collects a body as long as it stays within `limit` bytes. Trailers are dropped.
pub(crate) async fn keep_body(mut body: Body, limit: usize) -> Result<Kept> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|cause| Error::new(ErrorKind::Internal, "a body broke off").with_source(cause))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + data.len() > limit {
            let read = stream::iter([whole.freeze(), data].map(Ok));
            return Ok(Kept::TooLarge(Body::from_stream(read.chain(body.into_data_stream()))));
        }
        whole.extend_from_slice(&data);
    }
    Ok(Kept::Whole(whole.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(count: usize) -> Body {
        Body::from_stream(stream::iter(
            (0..count).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"abcd"))),
        ))
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_passed_on_whole() {
        assert!(matches!(keep_body(chunks(2), 8).await, Ok(Kept::Whole(bytes)) if bytes == "abcdabcd"));
        let Ok(Kept::TooLarge(body)) = keep_body(chunks(3), 8).await else {
            panic!("12 bytes are more than 8")
        };
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcdabcdabcd");
    }

    #[tokio::test]
    async fn a_request_over_the_limit_or_broken_off_is_refused() {
        let wait = Duration::from_secs(1);
        assert_eq!(read_body(chunks(3), 8, wait).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(
            read_body(Body::from("123456789"), 8, wait).await.unwrap_err().status(),
            StatusCode::PAYLOAD_TOO_LARGE
        );
        let broken = Body::from_stream(stream::iter([Ok("ab"), Err("gone")]));
        assert_eq!(read_body(broken, 8, wait).await.unwrap_err().status(), StatusCode::BAD_REQUEST);
        let stuck = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(
            read_body(stuck, 8, Duration::from_millis(1)).await.unwrap_err().status(),
            StatusCode::REQUEST_TIMEOUT
        );
    }
}
