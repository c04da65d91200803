//! Notes the head of a response; a response body that carries the guard to its end and is otherwise the body it wraps.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum_core::body::Body;
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::guard::Guard;
use super::outcome::Head;
use super::shape::Shape;
use crate::http::{Response, Shed};

/// Ends the guard now if the server will not ask for a body, or else with the body.
pub(super) fn measure(mut response: Response, head_request: bool, mut guard: Guard) -> Response {
    let status = response.status();
    let shed = status.as_u16() >= 400 && response.extensions().get::<Shed>().is_some();
    let [kind, length] = kind_and_length(response.headers());
    guard.head(Head { status, shed }, || Shape::detect(status, kind));
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let remaining = length.or_else(|| response.body().size_hint().exact());
    if head_request || has_no_body(status) || remaining == Some(0) || response.body().is_end_stream() {
        guard.complete_at_head();
        return response;
    }
    // In place: a response is moved often enough.
    let inner = mem::take(response.body_mut());
    *response.body_mut() = Body::new(MeasuredBody { inner, remaining, guard: Some(guard) });
    response
}

struct MeasuredBody {
    inner: Body,
    /// Bytes still to come. A server that has announced a length stops asking when it has them, so waiting for
    /// the end of the stream would count a complete response as cancelled.
    remaining: Option<u64>,
    guard: Option<Guard>,
}

impl HttpBody for MeasuredBody {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        let this = self.get_mut();
        let inner = Pin::new(&mut this.inner);
        let frame = match this.guard.as_mut() {
            Some(guard) => ready!(guard.watch(|| inner.poll_frame(cx))),
            None => return inner.poll_frame(cx),
        };
        let ended = match &frame {
            // Cut short of what the head announced: the server breaks the connection off.
            None if this.remaining.is_some_and(|remaining| remaining > 0) => End::Failed,
            None => End::Complete,
            Some(Err(_)) => End::Failed,
            Some(Ok(frame)) => {
                if let (Some(remaining), Some(data)) = (this.remaining.as_mut(), frame.data_ref()) {
                    *remaining = remaining.saturating_sub(data.remaining() as u64);
                }
                if frame.is_trailers() || this.remaining == Some(0) || this.inner.is_end_stream() {
                    End::Complete
                } else {
                    End::NotYet
                }
            }
        };
        match ended {
            End::NotYet => {}
            End::Complete => this.guard.take().map_or((), Guard::complete),
            End::Failed => this.guard.take().map_or((), Guard::fail),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

enum End {
    NotYet,
    Complete,
    Failed,
}

/// The first `Content-Type` and `Content-Length`, in one pass: a response has few headers, and to hash a name twice
/// costs more than to look at ten.
fn kind_and_length(headers: &HeaderMap) -> [Option<&HeaderValue>; 2] {
    let mut found = [None; 2];
    for (name, value) in headers {
        if *name == header::CONTENT_TYPE {
            found[0] = found[0].or(Some(value));
        } else if *name == header::CONTENT_LENGTH {
            found[1] = found[1].or(Some(value));
        }
    }
    found
}

fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}
