//! Whether a response is over with its body, or streams for as long as somebody listens.

use http::{HeaderValue, StatusCode};

/// When a response is judged.
///
/// A route that says nothing is judged by each of its responses: those with the status 101 and those whose
/// `Content-Type` is `text/event-stream` or begins with `application/grpc` are streams, all others are unary.
///
/// ```
/// use std::time::Duration;
/// use http::Method;
/// use scalekit_core::slo::{Objective, ObjectiveSet, Shape};
///
/// // An export that trickles for minutes is fine if it begins at once.
/// let export = Objective::new("export").route(Method::GET, "/export").shape(Shape::Streaming);
/// let export = export.latency(Duration::from_millis(100)).target(0.99);
/// ObjectiveSet::builder("shop").objective(export).build()?;
/// # Ok::<(), scalekit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// By the end of its body.
    Unary,
    /// By its head: its time, and what its status says. How the stream ends is told by its outcome alone.
    Streaming,
}

impl Shape {
    /// The shape of a response of this status and content type whose route says nothing.
    pub(super) fn detect(status: StatusCode, kind: Option<&HeaderValue>) -> Self {
        let streams = || {
            let kind = kind.map_or(&b""[..], HeaderValue::as_bytes);
            begins_with(kind, b"application/grpc")
                || (begins_with(kind, EVENTS)
                    && matches!(kind.get(EVENTS.len()), None | Some(b';' | b' ' | b'\t')))
        };
        if status == StatusCode::SWITCHING_PROTOCOLS || streams() { Self::Streaming } else { Self::Unary }
    }
}

const EVENTS: &[u8] = b"text/event-stream";

/// Media types have no case.
fn begins_with(kind: &[u8], start: &[u8]) -> bool {
    kind.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_known_by_status_and_media_type() {
        use Shape::{Streaming, Unary};
        let rows = [
            (101, None, Streaming),
            (200, None, Unary),
            (200, Some("text/event-stream"), Streaming),
            (200, Some("Text/Event-Stream; charset=utf-8"), Streaming),
            (200, Some("text/event-streams"), Unary),
            (200, Some("text/event"), Unary),
            (200, Some("application/grpc"), Streaming),
            (200, Some("application/grpc+proto"), Streaming),
            (200, Some("application/grpc-web-text"), Streaming),
            (200, Some("application/json"), Unary),
        ];
        for (status, kind, shape) in rows {
            let (code, value) = (StatusCode::from_u16(status).unwrap(), kind.map(HeaderValue::from_static));
            assert_eq!(Shape::detect(code, value.as_ref()), shape, "{status} {kind:?}");
        }
    }
}
